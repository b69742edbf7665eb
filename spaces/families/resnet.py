"""Residual networks for small images, three stages of 16, 32 and 64 channels.

Source:
    He et al., Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2 (6n + 2 layers, figure 2),
    section 3.3 (shortcuts A and B), figure 5 (bottleneck);
    Zagoruyko, Komodakis, Wide Residual Networks, BMVC 2016 (the multiplier of width).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from paredown.spaces.families.family import Family, ImageShape, check_side
from paredown.spaces.families.layers import ACTIVATIONS, Layer, classifier, convolution
from paredown.spaces.families.naming import parameter_names
from paredown.spaces.knob import Choice, Knob, Knobs, Range, Value

CHANNELS = (16, 32, 64)
"""Of each stage at width 1; the second and the third halve the image."""
LEAST_SIDE = 4
EXPANSION = 4
"""Channels that leave a bottleneck, as a multiple of those of its 3 x 3 convolution."""
CONVOLUTIONS = {"basic": 2, "bottleneck": 3}
"""In a block."""


class Residual(nn.Module):
    """Convolutions with a shortcut around them.

    Args:
        body: Convolutions, the last one followed by its normalisation.
        shortcut: From the input to what is added.
        padded: So many channels, the last ones, have nothing added: shortcut A pads with zeros.
        activation: After the sum.
    """

    def __init__(self, body: list[nn.Module], shortcut: nn.Module, padded: int, activation: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)
        self.shortcut = shortcut
        self.padded = padded
        self.activation = activation
        # Shortcut A adds channel i to channel i: removing one that leaves the block would shift the others.
        self.kept = (f"body.{len(body) - 2}",) if padded else ()

    def forward(self, x: Tensor) -> Tensor:
        """Map `n x inputs x h x w` to `n x outputs x h/stride x w/stride`."""
        y, added = self.body(x), self.shortcut(x)
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


@dataclass(frozen=True)
class _Place:
    """A block's place in the network and its channels."""

    stage: int
    block: int
    inputs: int
    width: int
    outputs: int

    @property
    def stride(self) -> int:
        return 2 if self.stage > 0 and self.block == 0 else 1


def _places(knobs: Knobs) -> Iterator[_Place]:
    inputs = channels(knobs)[0]
    for stage, width in enumerate(channels(knobs)):
        outputs = width * EXPANSION if knobs["block"] == "bottleneck" else width
        for block in range(int(knobs["blocks"])):
            yield _Place(stage, block, inputs, width, outputs)
            inputs = outputs


def _build(knobs: Knobs, shape: ImageShape, classes: int) -> nn.Module:
    check_side("resnet", shape, LEAST_SIDE)
    activation = ACTIVATIONS[str(knobs["activation"])]
    outputs = channels(knobs)[0]
    layers: list[nn.Module] = [*convolution(shape[0], outputs, 3, 1), activation()]
    for place in _places(knobs):
        body = _body(str(knobs["block"]), place.inputs, place.width, place.outputs, place.stride, activation)
        shortcut, padded = _shortcut(str(knobs["shortcut"]), place.inputs, place.outputs, place.stride)
        layers.append(Residual(body, shortcut, padded, activation()))
        outputs = place.outputs
    return nn.Sequential(*layers, *classifier(outputs, classes))


def _body(block: str, inputs: int, width: int, outputs: int, stride: int, activation: Layer) -> list[nn.Module]:
    if block == "basic":
        return [*convolution(inputs, width, 3, stride), activation(), *convolution(width, outputs, 3, 1)]
    reduce, spatial = convolution(inputs, width, 1, 1), convolution(width, width, 3, stride)
    return [*reduce, activation(), *spatial, activation(), *convolution(width, outputs, 1, 1)]


def _shortcut(kind: str, inputs: int, outputs: int, stride: int) -> tuple[nn.Module, int]:
    """Return the shortcut and how many channels it pads."""
    if _is_projected(kind, inputs, outputs, stride):
        return nn.Sequential(*convolution(inputs, outputs, 1, stride)), 0
    if stride == 1 and inputs == outputs:
        return nn.Identity(), 0
    return nn.MaxPool2d(1, stride), outputs - inputs


def _is_projected(kind: str, inputs: int, outputs: int, stride: int) -> bool:
    """Tell whether a shortcut has weights: zeros cannot take channels away."""
    return (stride > 1 or inputs != outputs) and (kind == "projected" or inputs > outputs)


def _shared_names(knobs: Knobs) -> dict[str, str]:
    """Name parameters by stage, block and position; the two kinds of blocks share the stem alone."""
    kind, places = str(knobs["block"]), list(_places(knobs))
    modules = [("0", "stem"), ("1", "stem.norm")]
    for index, place in enumerate(places, 3):
        shared = f"{kind}.{place.stage}.{place.block}"
        for number in range(CONVOLUTIONS[kind]):  # each is followed by its normalisation and an activation
            modules += _pair(f"{index}.body", 3 * number, f"{shared}.convolution_{number}")
        if _is_projected(str(knobs["shortcut"]), place.inputs, place.outputs, place.stride):
            modules += _pair(f"{index}.shortcut", 0, f"{shared}.shortcut")
    linear = 3 + len(places) + 2
    names = {f"{linear}.{parameter}": f"classifier.{kind}.{parameter}" for parameter in ("weight", "bias")}
    return names | parameter_names(modules)


def _covering(knobs: Knobs) -> Knobs:
    """Return the network with weights in every shortcut: padded ones have them only where channels become fewer."""
    return {**knobs, "shortcut": "projected"} if knobs["widths"] == "per_stage" else knobs


def _pair(body: str, position: int, shared: str) -> list[tuple[str, str]]:
    return [(f"{body}.{position}", shared), (f"{body}.{position + 1}", f"{shared}.norm")]


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
    shared_names=_shared_names,
    covering=_covering,
)
