"""Residual networks for small images, three stages of 16, 32 and 64 channels.

Source:
    He et al., Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2 (6n + 2 layers, figure 2),
    section 3.3 (shortcuts A and B), figure 5 (bottleneck);
    Zagoruyko, Komodakis, Wide Residual Networks, BMVC 2016 (the multiplier of width).
"""

import functools
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from paredown.spaces.families.family import Family, ImageShape, check_side
from paredown.spaces.families.layers import ACTIVATIONS, Block, Layer, conv_norm, convolution
from paredown.spaces.families.staged import Stage, StagedNetwork
from paredown.spaces.knob import Choice, Knob, Knobs, Range, Value

CHANNELS, STRIDES = (16, 32, 64), (1, 2, 2)
"""Channels of each stage at width 1, and its stride."""
LEAST_SIDE = 4
EXPANSION = 4
"""Output channels of a bottleneck, as a multiple of those of its 3 x 3 convolution."""


class Residual(Block):
    """Convolutions with a shortcut around them.

    Attributes:
        kept: The last convolution where the shortcut pads: it adds channel i to channel i, and removing one that
            leaves the block would shift the others.

    Args:
        layers: The convolutions with their normalisations and activations, by name.
        shortcut: Makes what is added from the input.
        padded: Number of channels, the last ones, to which nothing is added: shortcut A pads with zeros.
        activation: Follows the sum.
    """

    def __init__(self, layers: dict[str, nn.Module], shortcut: nn.Module, padded: int, activation: nn.Module) -> None:
        super().__init__(layers)
        self.shortcut = shortcut
        self.padded = padded
        self.activation = activation
        self.kept = (self.path[-2],) if padded else ()

    def forward(self, x: Tensor) -> Tensor:
        """Map `n x inputs x h x w` to `n x outputs x h/stride x w/stride`."""
        y, added = self.run_path(x), self.shortcut(x)
        y = torch.cat((y[:, : -self.padded] + added, y[:, -self.padded :]), 1) if self.padded else y + added
        z: Tensor = self.activation(y)
        return z


def _knobs(resolutions: Range) -> Mapping[str, Knob]:
    widths = {f"width_{stage}": Range(0.25, 4.0, 0.25, only_if=("widths", "per_stage")) for stage in (1, 2, 3)}
    return {
        "block": Choice(("basic", "bottleneck")),
        "blocks": Range(1, 9, 1),
        "widths": Choice(("equal", "per_stage")),
        "width": Range(0.25, 4.0, 0.25, only_if=("widths", "equal")),
        **widths,
        "shortcut": Choice(("padded", "projected")),
        "activation": Choice(("relu", "silu", "hardswish")),
        "resolution": resolutions,
    }


def channels(knobs: Knobs) -> tuple[int, int, int]:
    """Return the channels of the 3 x 3 convolutions of each stage."""
    names = ("width",) * 3 if knobs["widths"] == "equal" else ("width_1", "width_2", "width_3")
    first, second, third = (round(c * float(knobs[name])) for c, name in zip(CHANNELS, names, strict=True))
    return first, second, third


def _build(knobs: Knobs, shape: ImageShape, classes: int) -> nn.Module:
    check_side("resnet", shape, LEAST_SIDE)
    activation = ACTIVATIONS[str(knobs["activation"])]
    is_basic = knobs["block"] == "basic"

    def block(width: int, inputs: int, outputs: int, stride: int) -> nn.Module:
        layers = (_basic if is_basic else _bottleneck)(inputs, width, outputs, stride, activation)
        shortcut, padded = _shortcut(str(knobs["shortcut"]), inputs, outputs, stride)
        return Residual(layers, shortcut, padded, activation())

    widths = channels(knobs)
    stages = [
        Stage(width * (1 if is_basic else EXPANSION), int(knobs["blocks"]), stride, functools.partial(block, width))
        for width, stride in zip(widths, STRIDES, strict=True)
    ]
    return StagedNetwork(shape, classes, stem=widths[0], stages=stages, activation=activation)


def _basic(inputs: int, width: int, outputs: int, stride: int, activation: Layer) -> dict[str, nn.Module]:
    first = _numbered(1, convolution(inputs, width, 3, stride), activation)
    return first | _numbered(2, convolution(width, outputs, 3, 1))


def _bottleneck(inputs: int, width: int, outputs: int, stride: int, activation: Layer) -> dict[str, nn.Module]:
    first = _numbered(1, convolution(inputs, width, 1, 1), activation)
    second = _numbered(2, convolution(width, width, 3, stride), activation)
    return first | second | _numbered(3, convolution(width, outputs, 1, 1))


def _numbered(number: int, layer: nn.Conv2d, activation: Layer | None = None) -> dict[str, nn.Module]:
    """Return a convolution with what follows it, under the names that residual networks have elsewhere."""
    layers: dict[str, nn.Module] = {f"conv{number}": layer, f"norm{number}": nn.BatchNorm2d(layer.out_channels)}
    return layers if activation is None else layers | {f"act{number}": activation()}


def _shortcut(kind: str, inputs: int, outputs: int, stride: int) -> tuple[nn.Module, int]:
    """Return the shortcut and the number of channels that it pads."""
    # Zeros cannot take channels away.
    if (stride > 1 or inputs != outputs) and (kind == "projected" or inputs > outputs):
        return conv_norm(inputs, outputs, 1, stride), 0
    if stride == 1 and inputs == outputs:
        return nn.Identity(), 0
    return nn.MaxPool2d(1, stride), outputs - inputs


def _shared_name(knobs: Knobs, name: str) -> str:
    """Return the name in a supernet of a parameter; the two kinds of blocks share the stem alone.

    These are the names of supernets on disk, whose convolutions are numbered from 0.
    """
    kind = str(knobs["block"])
    name = name.replace("stages.", f"{kind}.").replace("classifier.", f"classifier.{kind}.").replace("conv.", "")
    numbered = re.sub(r"\bconv(\d)", lambda found: f"convolution_{int(found[1]) - 1}", name)
    return re.sub(r"\bnorm(\d)", lambda found: f"convolution_{int(found[1]) - 1}.norm", numbered)


def _covering(knobs: Knobs) -> Knobs:
    """Return the network with weights in every shortcut; padded ones have weights only where channels decrease."""
    return {**knobs, "shortcut": "projected"} if knobs["widths"] == "per_stage" else knobs


def _published(layers: int) -> Knobs:
    plain: dict[str, Value] = {"block": "basic", "blocks": (layers - 2) // 6, "widths": "equal", "width": 1.0}
    return {**plain, "shortcut": "padded", "activation": "relu", "resolution": 32}


RESNET = Family(
    name="resnet",
    knobs=_knobs,
    baseline=lambda _: {"block": "basic", "blocks": 3, "widths": "equal", "width": 1.0, "activation": "relu"},
    resolution=lambda knobs: int(knobs["resolution"]),
    build=_build,
    source="He et al., Deep Residual Learning for Image Recognition, CVPR 2016",
    variants={f"resnet{layers}": _published(layers) for layers in (20, 32, 44, 56)},
    shared_names=_shared_name,
    covering=_covering,
)
