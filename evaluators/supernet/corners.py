"""The extreme networks of a family's space, between whose shapes lie those of all others."""

import itertools
import math
from collections.abc import Iterator

import torch

from paredown.spaces.candidate import Candidate
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.families.family import Family
from paredown.spaces.knob import Choice, Knob, Knobs, Value
from paredown.spaces.space import SearchSpace

Shapes = dict[str, tuple[int, ...]]
"""Shape of each parameter by its name in the supernet."""


def shared_shapes(family: Family, candidate: Candidate, channels: int, classes: int) -> Shapes:
    """Return the shape of each parameter of a candidate under its name in the supernet.

    Raises:
        InfeasibleCandidate: The family cannot build it.
    """
    assert family.shared_names is not None, "only families that share weights have shared shapes"
    side = family.resolution(candidate.knobs)
    with torch.device("meta"):
        network = family.build(candidate.knobs, (channels, side, side), classes)
    return {
        family.shared_names(candidate.knobs, name): tuple(parameter.shape)
        for name, parameter in network.named_parameters()
    }


class Corners:
    """Candidates of a space of one family among which each shared tensor has its largest sizes.

    A greedy search starts from all knobs at their highest and moves one knob at a time to where the network has more
    parameters, until no move helps; a second one starts from all knobs at their lowest, towards fewer parameters. The
    corners are the two results and all networks that differ from them in one knob, for each value of the knobs on
    which others depend, and the baseline, which may lie outside. They are enough where each size is monotone in each
    knob, whatever the other knobs are; a family in which that does not hold names networks that cover others.

    Args:
        space: Space of one family.
        channels: Number of channels of the images.
        classes: Number of classes of the task.

    Attributes:
        shapes: Shapes of the parameters of each corner that can be built, or of the network that covers it.
    """

    def __init__(self, space: SearchSpace, channels: int, classes: int) -> None:
        (self._family,) = space.families.values()
        self._space, self._channels, self._classes = space, channels, classes
        self._known: dict[Candidate, Shapes | None] = {}
        found = [space.baseline]
        for sign, end in ((1, "highest"), (-1, "lowest")):
            for chosen in self._deciding():
                start = {name: getattr(knob, end) for name, knob in space.knobs.items()} | chosen
                furthest = self._climbed(start, sign, set(chosen))
                found += [space.candidate(values) for values in (furthest, *self._moved(furthest, set()))]
        self.shapes = {c: shapes for c in dict.fromkeys(found) if (shapes := self._shapes(c)) is not None}

    def _deciding(self) -> Iterator[dict[str, Value]]:
        knobs = self._space.knobs
        parents = sorted({f"{n.partition('.')[0]}.{k.only_if[0]}" for n, k in knobs.items() if k.only_if})
        for chosen in itertools.product(*(_extremes(knobs[name]) for name in parents)):
            yield dict(zip(parents, chosen, strict=True))

    def _moved(self, values: Knobs, fixed: set[str]) -> Iterator[dict[str, Value]]:
        for name, knob in self._space.knobs.items():
            if name not in fixed:
                yield from ({**values, name: value} for value in _extremes(knob) if value != values[name])

    def _climbed(self, values: dict[str, Value], sign: int, fixed: set[str]) -> dict[str, Value]:
        size = self._size(values, sign)
        while True:
            better = max(self._moved(values, fixed), key=lambda v: self._size(v, sign), default=values)
            if self._size(better, sign) <= size:
                return values
            values, size = better, self._size(better, sign)

    def _size(self, values: Knobs, sign: int) -> float:
        shapes = self._shapes(self._space.candidate(values))
        return -math.inf if shapes is None else sign * parameters(shapes)

    def _covering(self, candidate: Candidate) -> Candidate:
        if self._family.covering is None:
            return candidate
        return Candidate(candidate.family, self._family.covering(candidate.knobs))

    def _shapes(self, candidate: Candidate) -> Shapes | None:
        if candidate not in self._known:
            try:
                covering = self._covering(candidate)
                self._known[candidate] = shared_shapes(self._family, covering, self._channels, self._classes)
            except InfeasibleCandidate:
                self._known[candidate] = None
        return self._known[candidate]


def parameters(shapes: Shapes) -> int:
    """Return the number of parameters of a network."""
    return sum(math.prod(shape) for shape in shapes.values())


def _extremes(knob: Knob) -> tuple[Value, ...]:
    return knob.values if isinstance(knob, Choice) else tuple(dict.fromkeys((knob.lowest, knob.highest)))
