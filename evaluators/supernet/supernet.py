"""The supernet: shared tensors, slices of which are the parameters of every candidate of a family."""

import contextlib
import functools
import math
import random

import torch
from torch import Tensor, nn

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.supernet.corners import Corners, parameters
from paredown.evaluators.supernet.slicing import largest_shapes, sliced
from paredown.evaluators.training.fit import layout
from paredown.spaces.candidate import Candidate
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.families.family import ImageShape
from paredown.spaces.space import SearchSpace

MAX_DRAWS = 1000
"""Number of random candidates in a row that cannot be built after which training fails."""
MAX_CACHED_NETWORKS = 64
"""Maximum number of built networks that are cached, the most recently used."""


class Supernet:
    """The shared tensors of a space of one family.

    Attributes:
        space: Space of one family.
        tensors: Tensors by shared name; each has the largest sizes that any candidate needs.
        largest: Candidates with the most parameters at the highest resolution; only knobs that change neither differ.
        smallest: Candidates with the fewest parameters, at the lowest and the highest resolution: a network that is
            never trained on large images would inherit little for them.
    """

    def __init__(self, space: SearchSpace, channels: int, classes: int, seed: int) -> None:
        (self._family,) = space.families.values()
        self.space, self._channels, self._classes = space, channels, classes
        corners = Corners(space, channels, classes).shapes
        sizes = {c: (parameters(shapes), self.shape(c)[1]) for c, shapes in corners.items()}
        self.largest = [c for c, size in sizes.items() if size == max(sizes.values())]
        fewest = min(count for count, _ in sizes.values())
        self.smallest = [c for c, (count, _) in sizes.items() if count == fewest]
        limits = largest_shapes(list(corners.values()))
        torch.manual_seed(seed)
        self.tensors = {name: nn.Parameter(_random(shape)) for name, shape in limits.items()}
        missing = set(limits)
        for corner in sorted(sizes, key=sizes.__getitem__, reverse=True):  # the families' own initial values
            if covered := {name for name, shape in corners[corner].items() if shape == limits[name]} & missing:
                network = self.build(corner)
                slices = self.slices(corner, network)
                with torch.no_grad():
                    for name, parameter in network.named_parameters():
                        if self._shared(corner, name) in covered:
                            slices[name].copy_(parameter)
                missing -= covered
        self.module = functools.lru_cache(maxsize=MAX_CACHED_NETWORKS)(self.build)

    def draw(self, dice: random.Random) -> Candidate:
        """Return a random candidate that can be built.

        Raises:
            EvaluationError: None of `MAX_DRAWS` random candidates can be built.
        """
        for _ in range(MAX_DRAWS):
            candidate = self.space.draw(dice.randrange(2**31))
            with contextlib.suppress(InfeasibleCandidate):
                self.module(candidate)
                return candidate
        raise EvaluationError(
            f"none of {MAX_DRAWS} random networks of {self._family.name} can be built; narrow its knobs"
        )

    def shape(self, candidate: Candidate) -> ImageShape:
        """Return channels, height and width of one input."""
        side = self._family.resolution(candidate.knobs)
        return self._channels, side, side

    def build(self, candidate: Candidate) -> nn.Module:
        """Return the candidate's network with random weights."""
        return self._family.build(candidate.knobs, self.shape(candidate), self._classes)

    def slices(self, candidate: Candidate, network: nn.Module) -> dict[str, Tensor]:
        """Return the views of shared tensors that are the parameters of a candidate's network, by their names there.

        Raises:
            ValueError: A parameter has no shared tensor or is larger than its shared tensor.
        """
        views = {}
        for name, parameter in network.named_parameters():
            shared = self._shared(candidate, name)
            if shared not in self.tensors:
                raise ValueError(f"{self._family.name}: {name} of {candidate} has no tensor in the supernet")
            try:
                views[name] = sliced(self.tensors[shared], parameter.shape)
            except ValueError as error:
                raise ValueError(f"{self._family.name}: {name} of {candidate}: {error}") from None
        return views

    def logits(self, candidate: Candidate, images: Tensor) -> Tensor:
        """Return the logits `n x classes` of a candidate in training; gradients flow into the shared tensors.

        Batch normalisation uses the statistics of the batch.

        Args:
            candidate: Candidate of the space.
            images: Normalised images, `n x c x h x w`.
        """
        network = self.module(candidate).to(images.device)
        inputs = images.contiguous(memory_format=layout(network))
        output: Tensor = torch.func.functional_call(network.train(), self.slices(candidate, network), (inputs,))
        return output

    def copy_slice_into(self, candidate: Candidate, network: nn.Module) -> None:
        """Copy the candidate's slice into its network; batch statistics are not shared and must be re-estimated."""
        views = self.slices(candidate, network)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(views[name])

    def _shared(self, candidate: Candidate, name: str) -> str:
        """Return the name in the supernet of a parameter of a candidate's network."""
        assert self._family.shared_names is not None, "only families that share weights have a supernet"
        return self._family.shared_names(candidate.knobs, name)


def _random(shape: tuple[int, ...]) -> Tensor:
    """Return initial values for parts that no corner covers: those of PyTorch's layers, and zeros in vectors."""
    tensor = torch.zeros(shape)
    if tensor.dim() > 1:
        nn.init.kaiming_uniform_(tensor, a=math.sqrt(5))
    return tensor
