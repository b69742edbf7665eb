"""Zeros among the weights of convolutions and linear layers: which weights count, and how zeros are kept."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from paredown.spaces.compression.layers import layers_to_reweigh
from paredown.spaces.compression.step import Hold


def weights_of(
    network: nn.Module, skipped: dict[str, str] | None = None, excluded: Sequence[str] = ()
) -> dict[str, nn.Parameter]:
    """Return the weights of all convolutions and linear layers, by layer; biases and norms are none of them.

    Args:
        network: Is not changed.
        skipped: Gets what else holds weights, with the reason why they cannot be set.
        excluded: Names of layers that the user excludes, with `*`, `?` and `[...]`.
    """
    layers = layers_to_reweigh(network, {} if skipped is None else skipped, excluded)
    return {name: cast(nn.Parameter, layer.weight) for name, layer in layers.items()}


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
def zeros_kept(weights: Mapping[str, nn.Parameter], skipped: Mapping[str, str]) -> Iterator[Hold]:
    """Keep every weight zero that is zero now."""
    zeros = [(weight, weight.detach() == 0) for weight in weights.values() if bool((weight == 0).any())]

    def after_step(progress: float) -> None:
        del progress
        with torch.no_grad():
            for weight, zero in zeros:
                weight.masked_fill_(zero, 0.0)

    yield Hold(after_step, skipped=skipped)
