"""Quantization-aware fine-tuning: the network feels the grid while it is trained, and its weights end on it.

The forward pass of each layer takes its weights at their grid points and its input in 8 bits; gradients pass as if
nothing were rounded. Parameters keep their names and stay float32 all along, so that what else holds them (masks,
penalties) is not disturbed. On leaving, the weights are moved to their grid points.

Source:
    Jacob et al., CVPR 2018, section 3; Krishnamoorthi, Quantizing deep convolutional networks for efficient
    inference, 2018, section 3.2 (ranges of activations by moving averages).
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paredown.spaces.compression.layers import layers_to_reweigh
from paredown.spaces.compression.quantizing.grid import on_grid, straight_through
from paredown.spaces.compression.quantizing.widths import width
from paredown.spaces.compression.step import Hold
from paredown.spaces.compression.target import Target
from paredown.spaces.knob import Knobs

MOMENTUM = 0.1
"""Share of the newest batch in the range of an activation."""


@contextmanager
def on_the_grid(network: nn.Module, knobs: Knobs, target: Target, excluded: Sequence[str] = ()) -> Iterator[Hold]:
    """Let the network compute with quantised weights and activations; on leaving, its weights lie on their grids."""
    skipped: dict[str, str] = {}
    layers = list(layers_to_reweigh(network, skipped, excluded).values())
    felt = [_Felt(layer, bool(knobs.get("activations", "uint8") == "uint8")) for layer in layers]
    running = _Order(len(layers), knobs, target)
    for one in felt:
        one.enter(running)

    def settle() -> None:
        for one in felt:
            one.settle(running)

    def state() -> dict[str, Any]:
        return {"ranges": [one.range for one in felt], "order": running.of(layers)}

    def load_state(state: Mapping[str, Any]) -> None:
        for one, ends in zip(felt, state["ranges"], strict=True):
            one.restore(ends)
        running.restore([layers[at] for at in state["order"]])

    try:
        yield Hold(
            lambda progress: settle() if progress >= 1 else None, skipped=skipped, state=state, load_state=load_state
        )
        settle()
    finally:
        for one in felt:
            one.leave()


def rounded(network: nn.Module, knobs: Knobs, example: Tensor) -> nn.Module:
    """Return the network with its weights on their grids, each layer at the width that the exported file has.

    Args:
        network: Is not touched.
        knobs: Knobs of the step.
        example: One input, `1 x c x h x w`; tells the order of the layers.
    """
    moved = copy.deepcopy(network).eval()
    with on_the_grid(moved, {**knobs, "activations": "fp32"}, Target()), torch.no_grad():
        moved(example)
    return moved


class _Order:
    """The order in which layers run, known once they have run: their widths depend on it."""

    def __init__(self, layers: int, knobs: Knobs, target: Target) -> None:
        self._layers, self._knobs, self._target = layers, knobs, target
        self._bits: dict[int, int] = {}

    def bits(self, layer: nn.Module) -> int:
        """Return the bits of a layer, which takes the next place where it has none."""
        if id(layer) not in self._bits:
            self._bits[id(layer)] = width(len(self._bits), self._layers, self._knobs, self._target)
        return self._bits[id(layer)]

    def of(self, layers: Sequence[nn.Module]) -> list[int]:
        """Return which of the layers have run, by their index, in the order in which they did."""
        index = {id(layer): at for at, layer in enumerate(layers)}
        return [index[layer] for layer in self._bits]

    def restore(self, ran: Sequence[nn.Module]) -> None:
        """Let these layers have run, in this order, and no others."""
        self._bits.clear()
        for layer in ran:
            self.bits(layer)


class _Felt:
    """One layer, its input and its weights rounded while it runs.

    Attributes:
        range: Usual ends of its input; None before it has run.
    """

    def __init__(self, layer: nn.Module, rounds_input: bool) -> None:
        self._layer = layer
        self._rounds_input = rounds_input
        self.range: tuple[Tensor, Tensor] | None = None

    def restore(self, ends: tuple[Tensor, Tensor] | None) -> None:
        """Take over the range that it had."""
        weight = self._layer.weight
        assert isinstance(weight, Tensor)
        self.range = None if ends is None else (ends[0].to(weight.device), ends[1].to(weight.device))

    def enter(self, order: _Order) -> None:
        layer = self._layer

        def forward(x: Tensor) -> Tensor:
            if self._rounds_input:
                x = self._in_8_bits(x)
            weight = straight_through(layer.weight, order.bits(layer))  # type: ignore[arg-type]
            if isinstance(layer, nn.Linear):
                return F.linear(x, weight, layer.bias)
            output: Tensor = layer._conv_forward(x, weight, layer.bias)  # type: ignore[operator]
            return output

        layer.forward = forward

    def leave(self) -> None:
        del self._layer.forward  # the class's own is seen again

    def settle(self, order: _Order) -> None:
        weight = self._layer.weight
        assert isinstance(weight, Tensor)
        with torch.no_grad():
            weight.copy_(on_grid(weight, order.bits(self._layer)))

    def _in_8_bits(self, x: Tensor) -> Tensor:
        """Return the input at its nearest of 256 points between its usual ends, zero among them."""
        with torch.no_grad():
            low, high = x.detach().amin().clamp(max=0), x.detach().amax().clamp(min=0)
            if self.range is None:
                self.range = (low, high)
            elif self._layer.training:
                old_low, old_high = self.range
                self.range = (old_low.lerp(low, MOMENTUM), old_high.lerp(high, MOMENTUM))
            low, high = self.range
            scale = ((high - low) / 255).clamp(min=1e-12)
            zero = (-low / scale).round().to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, 255)
