"""The features of a network: the input of its last layer with weights."""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.tasks.normalisation import Inputs, largest_batch
from paredown.evaluators.training.inference import predict
from paredown.spaces.module_mode import evaluating


class Watched:
    """Holds the features of the latest batch that passed through a watched network."""

    def __init__(self) -> None:
        self._latest: Tensor | None = None

    @property
    def features(self) -> Tensor:
        """The features of the latest batch, `n x width`; maps `n x c x h x w` are averaged over height and width."""
        assert self._latest is not None, "nothing went through the network yet"
        return self._latest

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        (x, *_) = inputs
        self._latest = x if x.dim() == 2 else x.mean(tuple(range(2, x.dim())))


@contextlib.contextmanager
def watch(model: nn.Module, example: Tensor) -> Iterator[Watched]:
    """Record the input of the layer with weights that runs last, the classifier.

    Args:
        model: The network; its outputs do not change.
        example: One input, `1 x c x h x w`, with which that layer is found.

    Raises:
        EvaluationError: The network has no such layer.
    """
    classifier = classifier_of(model, example)
    if classifier is None:
        raise EvaluationError("hints: the network has neither a linear layer nor a convolution to take features from")
    watched = Watched()
    hook = classifier.register_forward_pre_hook(watched._keep)
    try:
        yield watched
    finally:
        hook.remove()


def predict_with_features(
    model: nn.Module, images: Inputs, batch_size: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return `n x classes` logits and `n x width` features for normalised `n x c x h x w`.

    The features are None where the network has no layer to take them from.
    """
    if classifier_of(model, torch.from_numpy(images[:1]).to(next(model.parameters()).device)) is None:
        return predict(model, images, batch_size).numpy(), None
    device = next(model.parameters()).device
    logits, features, size = [], [], batch_size or largest_batch(images.shape)
    model.eval()
    with watch(model, torch.from_numpy(images[:1]).to(device)) as watched, torch.inference_mode():
        for i in range(0, len(images), size):
            logits.append(model(torch.from_numpy(images[i : i + size]).to(device)).cpu())
            features.append(watched.features.cpu())
    return torch.cat(logits).numpy(), torch.cat(features).numpy()


def classifier_of(model: nn.Module, example: Tensor) -> nn.Module | None:
    """Return the linear layer or convolution that runs last; None where there is none."""
    ran: list[nn.Module] = []
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    hooks = [layer.register_forward_hook(lambda module, inputs, output: ran.append(module)) for layer in layers]
    try:
        with evaluating(model), torch.no_grad():
            model(example)
    finally:
        for hook in hooks:
            hook.remove()
    return ran[-1] if ran else None
