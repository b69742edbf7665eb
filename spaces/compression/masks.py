"""Zeros among the weights of convolutions and linear layers: which weights count, and how zeros are kept."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from paredown.spaces.compression.step import Hold


def weights_of(network: nn.Module, skipped: dict[str, str] | None = None) -> dict[str, nn.Parameter]:
    """Return the weights of all convolutions and linear layers, by layer; biases and norms are none of them.

    Args:
        network: Is not changed.
        skipped: Gets the layers whose weights cannot be set, with the reason.
    """
    found: dict[str, nn.Parameter] = {}
    for name, layer in network.named_modules():
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            continue
        weight = dict(layer.named_parameters(recurse=False)).get("weight")
        if weight is None:
            reason = "its weight is computed from other parameters"
        elif twin := next((other for other, known in found.items() if known is weight), None):
            reason = f"it shares its weight with {twin}, where it is treated"
        else:
            found[name] = weight
            continue
        if skipped is not None:
            skipped[name] = reason
    return found


def least(tensors: Sequence[Tensor], count: int) -> list[Tensor]:
    """Return where the `count` smallest magnitudes of all tensors are, as booleans of their shapes.

    Of equal ones the first in order go, so that the count is exact.
    """
    sizes = [t.numel() for t in tensors]
    magnitudes = torch.cat([t.detach().flatten().abs() for t in tensors])
    chosen = torch.zeros(len(magnitudes), dtype=torch.bool, device=magnitudes.device)
    chosen[magnitudes.sort(stable=True).indices[:count]] = True
    parts = torch.split(chosen, sizes)
    return [part.view(t.shape) for part, t in zip(parts, tensors, strict=True)]


@contextlib.contextmanager
def zeros_kept(weights: Mapping[str, nn.Parameter]) -> Iterator[Hold]:
    """Keep every weight zero that is zero now."""
    zeros = [(weight, weight.detach() == 0) for weight in weights.values() if bool((weight == 0).any())]

    def after_step(progress: float) -> None:
        del progress
        with torch.no_grad():
            for weight, zero in zeros:
                weight.masked_fill_(zero, 0.0)

    yield Hold(after_step)
