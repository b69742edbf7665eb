"""Grouped convolution: a dense convolution becomes one of 2, 4 or 8 groups.

A group reads only its share of the input channels, so parameters and multiply-adds of the layer fall by the number
of groups. Which channels meet in a group is chosen to keep the most squared weight: given the groups of the
inputs, the best groups of the outputs are a linear assignment, and the other way round. The two alternate until
nothing is gained, once from the channels as they lie and once from their order along the leading singular vectors
of the squared weights. Channels are put in the order of the groups before the convolution and back after it.

Source:
    Zhao, Luk, Efficient Structured Pruning and Architecture Searching for Group Convolution, arXiv 1811.09341, 2018
    (pruning to groups as a choice of channel permutations);
    Kuhn, The Hungarian Method for the Assignment Problem, 1955 (by SciPy).
"""

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paredown.spaces.compression.layers import MATRIX_LAYERS, layers_to_replace
from paredown.spaces.compression.step import Step, TransformContext
from paredown.spaces.compression.surgery import calls_of, replace
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.knob import Choice, Knobs

Array = NDArray[np.float64]
Order = NDArray[np.int64]


class ChannelOrder(nn.Module):
    """Puts the channels in another order; a gather in the exported file.

    Attributes:
        order: Which channel comes at each place, `c`; part of the state, as it follows from trained weights.
    """

    order: Tensor

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.register_buffer("order", order)

    def forward(self, x: Tensor) -> Tensor:
        """Map `n x c x h x w` to the same shape."""
        return x.index_select(1, self.order)


def _group(model: nn.Module, knobs: Knobs, material: TransformContext) -> nn.Module:
    GROUPED_CONVOLUTION.check(knobs)
    groups, changed, grouped = int(knobs["groups"]), copy.deepcopy(model), 0
    layers = layers_to_replace(changed, material, (nn.Conv2d,))
    ran = [c.module for c in calls_of(changed, material.example) if isinstance(c.module, MATRIX_LAYERS)]
    for name, layer in layers.items():
        assert isinstance(layer, nn.Conv2d), "that was asked for"
        if reason := _why_dense(layer, groups, layer is ran[0], layer is ran[-1]):
            material.skipped[name] = reason
        else:
            replace(changed, layer, _grouped(layer, groups))
            grouped += 1
    if not grouped:
        reasons = "; ".join(dict.fromkeys(material.skipped.values())) or "the network has no convolution"
        raise InfeasibleCandidate(f"grouped_convolution: nothing can have {groups} groups: {reasons}")
    return changed


def _why_dense(layer: nn.Conv2d, groups: int, first: bool, last: bool) -> str:
    if layer.groups > 1:
        return f"has {layer.groups} groups already"
    if first or last:
        return "reads the image" if first else "gives the output"
    if layer.in_channels % groups or layer.out_channels % groups:
        return f"{layer.in_channels} to {layer.out_channels} channels do not divide by {groups}"
    return ""


@torch.no_grad()
def _grouped(layer: nn.Conv2d, groups: int) -> nn.Module:
    inputs, outputs = orders(layer.weight.square().sum((2, 3)).cpu().numpy().astype(np.float64), groups)
    into, out = (torch.from_numpy(order).to(layer.weight.device) for order in (inputs, outputs))
    thin = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        (layer.kernel_size[0], layer.kernel_size[1]),
        (layer.stride[0], layer.stride[1]),
        layer.padding if isinstance(layer.padding, str) else (layer.padding[0], layer.padding[1]),
        (layer.dilation[0], layer.dilation[1]),
        groups,
        bias=layer.bias is not None,
        padding_mode=layer.padding_mode,
    ).to(layer.weight)
    blocks = zip(out.chunk(groups), into.chunk(groups), strict=True)
    thin.weight.copy_(torch.cat([layer.weight[rows][:, columns] for rows, columns in blocks]))
    thin.weight.requires_grad_(layer.weight.requires_grad)
    if layer.bias is not None and thin.bias is not None:
        thin.bias.copy_(layer.bias[out])
        thin.bias.requires_grad_(layer.bias.requires_grad)
    return nn.Sequential(ChannelOrder(into), thin, ChannelOrder(out.argsort()))


def orders(weights: Array, groups: int) -> tuple[Order, Order]:
    """Return the orders of input and output channels whose equal parts make the best groups.

    Args:
        weights: Squared weight between each output and input channel, `outputs x inputs`.
        groups: Divides both.

    Returns:
        Which input, and which output channel comes at each place: `inputs`, `outputs`.
    """
    _, _, right = np.linalg.svd(weights - weights.mean(), full_matrices=False)
    starts = [np.arange(weights.shape[1]), np.argsort(right[0], kind="stable")]
    found = [_improved(weights, _as_groups(start, groups), groups) for start in starts]
    best = max(found, key=lambda pair: kept(weights, *pair))
    inputs, outputs = (np.argsort(of, kind="stable").astype(np.int64) for of in best)
    return inputs, outputs


def kept(weights: Array, inputs: Order, outputs: Order) -> float:
    """Return the sum of the weights whose output and input channel are in the same group.

    Args:
        weights: `outputs x inputs`.
        inputs: Group of each input channel.
        outputs: Group of each output channel.
    """
    return float(weights[outputs[:, None] == inputs[None, :]].sum())


def _as_groups(order: Order, groups: int) -> Order:
    """Return the group of each channel where an order is cut in equal parts."""
    of = np.empty(len(order), np.int64)
    of[order] = np.repeat(np.arange(groups), len(order) // groups)
    return of


def _improved(weights: Array, inputs: Order, groups: int) -> tuple[Order, Order]:
    """Alternate between the best outputs for the inputs and the best inputs for the outputs."""
    outputs = _assigned(weights, inputs, groups)
    total = kept(weights, inputs, outputs)
    while True:
        inputs_next = _assigned(weights.T, outputs, groups)
        outputs_next = _assigned(weights, inputs_next, groups)
        better = kept(weights, inputs_next, outputs_next)
        if better <= total * (1 + 1e-9):
            return inputs, outputs
        inputs, outputs, total = inputs_next, outputs_next, better


def _assigned(weights: Array, columns: Order, groups: int) -> Order:
    """Return the group of each row that keeps the most weight, all of one size, given those of the columns."""
    from scipy.optimize import linear_sum_assignment  # late: it takes most of a second to load

    gains = np.stack([weights[:, columns == group].sum(1) for group in range(groups)], axis=1)
    size = len(weights) // groups
    _, places = linear_sum_assignment(np.repeat(gains, size, axis=1), maximize=True)
    return np.asarray(places // size, np.int64)


GROUPED_CONVOLUTION = Step(
    name="grouped_convolution",
    short="groups",
    knobs={"groups": Choice((1, 2, 4, 8))},
    switch="groups",
    off=1,
    transform=_group,
    source="Zhao, Luk, Efficient Structured Pruning and Architecture Searching for Group Convolution, 2018",
)
