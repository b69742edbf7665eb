"""Free macro search: each of four stages has its own operator, kernel, expansion, depth, width, shortcut and gate.

Every operator expands its input, filters, and projects:

- `inverted` filters each channel on its own (MobileNetV2);
- `grouped` filters groups of 8 channels (RegNet);
- `fused` expands and filters in one dense convolution (EfficientNetV2).

Source:
    Tan et al., MnasNet, CVPR 2019, section 4.1 (factorised hierarchical space);
    Radosavovic et al., Designing Network Design Spaces, CVPR 2020 (groups);
    Tan, Le, EfficientNetV2, ICML 2021, section 3.2 (fused).
"""

import functools
import math
from collections.abc import Mapping

from torch import Tensor, nn

from paredown.spaces.families.family import Family, ImageShape, check_side
from paredown.spaces.families.layers import (
    ACTIVATIONS,
    Block,
    Layer,
    SqueezeExcite,
    conv_norm,
    convolution,
    divisible,
    with_norm,
)
from paredown.spaces.families.staged import Stage, StagedNetwork
from paredown.spaces.knob import Choice, Knob, Knobs, Range, Value

STEM_CHANNELS, HEAD_CHANNELS = 16, 128
STAGES = ((16, 1), (24, 2), (40, 2), (64, 2))
"""Channels and stride of each stage at width 1."""
GROUP = 8
"""Channels of one group; all channels are multiples of it."""
OPERATORS = ("inverted", "grouped", "fused")


class MacroBlock(Block):
    """One operator, with or without a shortcut; the first of a stage projects its shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, activation: Layer, knobs: Knobs) -> None:
        hidden, kernel = inputs * int(knobs["expansion"]), int(knobs["kernel"])
        if knobs["operator"] == "fused":
            layers = with_norm("fused", convolution(inputs, hidden, kernel, stride), activation)
        else:
            groups = hidden if knobs["operator"] == "inverted" else hidden // GROUP
            layers = with_norm("expand", convolution(inputs, hidden, 1, 1), activation)
            layers |= with_norm("filter", convolution(hidden, hidden, kernel, stride, groups=groups), activation)
        if knobs["squeeze_excite"]:
            layers["squeeze_excite"] = SqueezeExcite(hidden, max(GROUP, inputs // 4))
        super().__init__(layers | with_norm("project", convolution(hidden, outputs, 1, 1)))
        self.shortcut: nn.Module | None = None
        if knobs["skip"]:
            fits = stride == 1 and inputs == outputs
            self.shortcut = nn.Identity() if fits else conv_norm(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map `n x inputs x h x w` to `n x outputs x h/stride x w/stride`."""
        y = self.run_path(x)
        return y if self.shortcut is None else y + self.shortcut(x)


def _knobs(resolutions: Range) -> Mapping[str, Knob]:
    knobs: dict[str, Knob] = {}
    for stage in range(1, len(STAGES) + 1):
        knobs |= {
            f"operator_{stage}": Choice(OPERATORS),
            f"kernel_{stage}": Choice((3, 5, 7)),
            f"expansion_{stage}": Choice((1, 2, 4, 6)),
            f"depth_{stage}": Range(1, 4, 1),
            f"width_{stage}": Range(0.5, 2.0, 0.25),
            f"skip_{stage}": Choice((False, True)),
            f"squeeze_excite_{stage}": Choice((False, True)),
        }
    return {**knobs, "activation": Choice(("relu", "silu", "hardswish")), "resolution": resolutions}


def stage_knobs(knobs: Knobs, stage: int) -> Knobs:
    """Return the knobs of one stage, 1 to 4, without its number."""
    ending = f"_{stage}"
    return {name.removesuffix(ending): value for name, value in knobs.items() if name.endswith(ending)}


def _build(knobs: Knobs, shape: ImageShape, classes: int) -> nn.Module:
    check_side("macro", shape, math.prod(stride for _, stride in STAGES))
    activation = ACTIVATIONS[str(knobs["activation"])]
    stages = []
    for number, (outputs, stride) in enumerate(STAGES, start=1):
        own = stage_knobs(knobs, number)
        block = functools.partial(MacroBlock, activation=activation, knobs=own)
        stages.append(Stage(divisible(outputs * float(own["width"]), GROUP), int(own["depth"]), stride, block))
    return StagedNetwork(shape, classes, stem=STEM_CHANNELS, stages=stages, head=HEAD_CHANNELS, activation=activation)


def _baseline(_: Range) -> Mapping[str, Value]:
    stage: dict[str, Value] = {
        "operator": "inverted",
        "kernel": 3,
        "expansion": 4,
        "depth": 2,
        "width": 1.0,
        "squeeze_excite": False,
    }
    stages = {f"{name}_{i}": value for i in range(1, len(STAGES) + 1) for name, value in stage.items()}
    return {**stages, "activation": "relu"}


MACRO = Family(
    name="macro",
    knobs=_knobs,
    baseline=_baseline,
    resolution=lambda knobs: int(knobs["resolution"]),
    build=_build,
    source="Tan et al., MnasNet, CVPR 2019, section 4.1",
)
