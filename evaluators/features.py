"""What a network sees before it classifies: the input of its last layer with weights."""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class Watched:
    """The features of the latest batch that went through a watched network."""

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
    """Watch what goes into the layer with weights that runs last, the classifier.

    Args:
        model: Its outputs do not change.
        example: One input, `1 x c x h x w`, to find that layer.
    """
    watched = Watched()
    hook = _classifier(model, example).register_forward_pre_hook(watched._keep)
    try:
        yield watched
    finally:
        hook.remove()


def predict_with_features(
    model: nn.Module, images: NDArray[np.float32], batch_size: int = 256
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return `n x classes` logits and `n x width` features for normalised `n x c x h x w`."""
    device = next(model.parameters()).device
    logits, features = [], []
    model.eval()
    with watch(model, torch.from_numpy(images[:1]).to(device)) as watched, torch.inference_mode():
        for i in range(0, len(images), batch_size):
            logits.append(model(torch.from_numpy(images[i : i + batch_size]).to(device)).cpu())
            features.append(watched.features.cpu())
    return torch.cat(logits).numpy(), torch.cat(features).numpy()


def _classifier(model: nn.Module, example: Tensor) -> nn.Module:
    ran: list[nn.Module] = []
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    hooks = [layer.register_forward_hook(lambda module, inputs, output: ran.append(module)) for layer in layers]
    training = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.no_grad():
            model(example)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in training.items():
            module.training = mode
    if not ran:
        raise ValueError(
            "the network has neither a linear nor a convolutional layer, so there are no features before it"
        )
    return ran[-1]
