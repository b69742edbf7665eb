"""Stripe pruning: single filters lose positions of their kernels.

A stripe is what one filter holds at one position of its kernel, over all input channels; the axis may also be a
whole row, a column, or the kernel that a filter has for one input channel (in a 1 x 1 convolution a single weight).
In each layer the stripes of least norm become zero and stay so through fine-tuning. Zeros save bytes in the packed
file, not multiply-adds: these fall only where the outer rows or columns of a kernel are dead in all filters of a
layer. There the kernel shrinks and the padding follows, with equal outputs.

Source:
    Meng et al., Pruning Filter in Filter, NeurIPS 2020, section 3 (stripes; the filter skeleton, which is learned
    there, is the norm of the trained stripe here).
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from paredown.spaces.compression.layers import layers_to_replace, layers_to_reweigh
from paredown.spaces.compression.step import Hold, Step, TransformContext
from paredown.spaces.compression.surgery import replace
from paredown.spaces.compression.target import Target
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.knob import Choice, Knobs, Range

KERNELS = "kernels"
"""Key of what was decided: layer to what is left of its kernel, `[top, bottom, left, right]`, ends excluded."""
ALONG = {"stripe": (1,), "row": (1, 3), "column": (1, 2), "channel": (2, 3)}
"""Axis to the dimensions of a weight, `outputs x inputs x height x width`, along which a stripe lies."""


@torch.no_grad()
def _prune(model: nn.Module, knobs: Knobs, material: TransformContext) -> nn.Module:
    STRIPE_PRUNING.check(knobs)
    axis, pruned = str(knobs["axis"]), copy.deepcopy(model)
    replayed, treated = dict(material.decided.get(KERNELS, {})), 0
    decide = KERNELS not in material.decided
    kernels: dict[str, list[int]] = {}
    layers = layers_to_reweigh(pruned, material.skipped, material.excluded, (nn.Conv2d,))
    fixed = TransformContext(material.example, excluded=material.excluded, pinned=material.pinned)
    replaceable = layers_to_replace(pruned, fixed, (nn.Conv2d,))
    for name, layer in layers.items():
        assert isinstance(layer, nn.Conv2d), "that was asked for"
        if reason := _why_whole(layer, axis):
            material.skipped[name] = reason
            continue
        treated += 1
        _zero(layer.weight, axis, float(knobs["ratio"]))
        left = _left(layer) if decide else replayed.get(name)
        if left is not None and name in replaceable:
            kernels[name] = left
            replace(pruned, layer, _shrunk(layer, left))
    if not treated:
        reasons = "; ".join(dict.fromkeys(material.skipped.values()))
        raise InfeasibleCandidate(f"stripe_pruning: no layer has more than one {axis}: {reasons}")
    material.decided[KERNELS] = kernels
    return pruned


def _why_whole(layer: nn.Conv2d, axis: str) -> str:
    _, inputs, height, width = layer.weight.shape
    several = {"stripe": height * width > 1, "row": height > 1, "column": width > 1, "channel": inputs > 1}
    return "" if several[axis] else f"its filters have one {axis}"


def _zero(weight: Tensor, axis: str, ratio: float) -> None:
    """Zero the share of the layer's stripes that has the least norm, never all."""
    norms = weight.square().sum(ALONG[axis], keepdim=True)
    count = min(round(norms.numel() * ratio), norms.numel() - 1)
    least = norms.flatten().argsort(stable=True)[:count]
    mask = torch.ones(norms.numel(), device=weight.device, dtype=weight.dtype)
    mask[least] = 0
    weight.mul_(mask.view_as(norms))


def _left(layer: nn.Conv2d) -> list[int] | None:
    """Return the rows and columns between which the kernel is alive; None where these are all, or none."""
    alive = layer.weight.abs().amax((0, 1)) > 0
    rows, columns = alive.any(1).nonzero().flatten().tolist(), alive.any(0).nonzero().flatten().tolist()
    if not rows or layer.padding_mode != "zeros":
        return None
    left = [rows[0], rows[-1] + 1, columns[0], columns[-1] + 1]
    return None if left == [0, layer.kernel_size[0], 0, layer.kernel_size[1]] else left


def _shrunk(layer: nn.Conv2d, left: list[int]) -> nn.Module:
    """Return a convolution with what is left of the kernel, padded so that each output stays where it was."""
    top, bottom, first, last = left
    (height, width), (down, across) = layer.kernel_size, layer.dilation
    above, below = _padding(layer, 0)
    before, after = _padding(layer, 1)
    above, below = above - down * top, below - down * (height - bottom)
    before, after = before - across * first, after - across * (width - last)
    even = above == below >= 0 and before == after >= 0
    thin = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        (bottom - top, last - first),
        (layer.stride[0], layer.stride[1]),
        (above, before) if even else 0,
        (layer.dilation[0], layer.dilation[1]),
        layer.groups,
        bias=layer.bias is not None,
    ).to(layer.weight)
    thin.weight.copy_(layer.weight[:, :, top:bottom, first:last])
    thin.weight.requires_grad_(layer.weight.requires_grad)
    if layer.bias is not None and thin.bias is not None:
        thin.bias.copy_(layer.bias)
        thin.bias.requires_grad_(layer.bias.requires_grad)
    return thin if even else nn.Sequential(nn.ZeroPad2d((before, after, above, below)), thin)


def _padding(layer: nn.Conv2d, dimension: int) -> tuple[int, int]:
    """Return the zeros before and after the image along a dimension of it."""
    if isinstance(layer.padding, str):
        total = layer.dilation[dimension] * (layer.kernel_size[dimension] - 1) if layer.padding == "same" else 0
        return total // 2, total - total // 2
    return layer.padding[dimension], layer.padding[dimension]


@contextmanager
def _holding(network: nn.Module, knobs: Knobs, target: Target, excluded: Sequence[str] = ()) -> Iterator[Hold]:
    """Keep the stripes at zero that are zero now."""
    masks = []
    for layer in layers_to_reweigh(network, {}, excluded, (nn.Conv2d,)).values():
        alive = layer.weight.detach().abs().sum(ALONG[str(knobs["axis"])], keepdim=True) > 0
        if not alive.all():
            masks.append((layer.weight, alive.to(layer.weight.dtype)))

    def zero(progress: float) -> None:
        with torch.no_grad():
            for weight, alive in masks:
                weight.mul_(alive)

    yield Hold(zero)


STRIPE_PRUNING = Step(
    name="stripe_pruning",
    short="stripes",
    knobs={"ratio": Range(0.0, 0.875, 0.125), "axis": Choice(tuple(ALONG))},
    switch="ratio",
    off=0.0,
    transform=_prune,
    finetuning=_holding,
    source="Meng et al., Pruning Filter in Filter, NeurIPS 2020",
    shapes_known=False,
)
