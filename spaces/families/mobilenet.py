"""MobileNet: thin bottlenecks joined by residuals; V2 as published, with what V3 added as knobs.

Source:
    Sandler et al., MobileNetV2, CVPR 2018, table 2;
    Howard et al., Searching for MobileNetV3, ICCV 2019, sections 5.2 (hard-swish) and 5.3 (squeeze-excite).
"""

import functools
import math
from collections.abc import Mapping

from torch import nn

from paredown.spaces.families.family import Family, ImageShape, check_side
from paredown.spaces.families.layers import ACTIVATIONS, InvertedBottleneck, SqueezeExcite, divisible, inverted_name
from paredown.spaces.families.staged import Stage, StagedNetwork
from paredown.spaces.knob import Choice, Knob, Knobs, Range

STEM_CHANNELS, HEAD_CHANNELS = 32, 1280
STAGES = ((16, 1), (24, 2), (32, 3), (64, 4), (96, 3), (160, 3), (320, 1))
"""Channels and blocks of each stage at width and depth 1; the first one does not expand."""
STRIDES = {"image": (2, 1, 2, 2, 2, 1, 2, 1), "small": (1, 1, 1, 2, 2, 1, 2, 1)}
"""Strides of the stem and of each stage: as published, and for images of 8 to 64 px."""
SMALL = 64
"""Below this side of its largest images, in pixels, a task has the stem `small` alone."""
SMALLER = "stem small from 8 px"
"""What a message suggests where images are too small for the stem `image`."""


def _knobs(resolutions: Range) -> Mapping[str, Knob]:
    return {
        "stem": Choice(("small",) if resolutions.high < SMALL else ("small", "image")),
        "depth": Range(0.25, 1.5, 0.25),
        "width": Range(0.125, 1.5, 0.125),
        "kernel": Choice((3, 5, 7)),
        "expansion": Choice((2, 3, 4, 6)),
        "squeeze_excite": Choice((False, True)),
        "activation": Choice(("relu", "relu6", "hardswish")),
        "resolution": resolutions,
    }


def _build(knobs: Knobs, shape: ImageShape, classes: int) -> nn.Module:
    width, depth = float(knobs["width"]), float(knobs["depth"])
    strides = STRIDES[str(knobs["stem"])]
    check_side("mobilenet", shape, math.prod(strides), SMALLER if knobs["stem"] == "image" else "")
    activation = ACTIVATIONS[str(knobs["activation"])]

    def block(expansion: int, inputs: int, outputs: int, stride: int) -> nn.Module:
        return InvertedBottleneck(
            inputs,
            outputs,
            stride,
            kernel=int(knobs["kernel"]),
            expansion=expansion,
            activation=activation,
            excite=_excite if knobs["squeeze_excite"] else None,
        )

    expansions = [1] + [int(knobs["expansion"])] * (len(STAGES) - 1)
    return StagedNetwork(
        shape,
        classes,
        stem=divisible(STEM_CHANNELS * width),
        stem_stride=strides[0],
        stages=[
            Stage(divisible(outputs * width), math.ceil(blocks * depth), stride, functools.partial(block, expansion))
            for (outputs, blocks), stride, expansion in zip(STAGES, strides[1:], expansions, strict=True)
        ],
        head=divisible(HEAD_CHANNELS * width),
        activation=activation,
    )


def _excite(hidden: int) -> nn.Module:
    """Return MobileNetV3's squeeze-excite: a quarter of the expanded channels and a piecewise linear gate."""
    return SqueezeExcite(hidden, divisible(hidden / 4), nn.ReLU, nn.Hardsigmoid)


V2: Knobs = {
    "depth": 1.0,
    "width": 1.0,
    "kernel": 3,
    "expansion": 6,
    "squeeze_excite": False,
    "activation": "relu6",
}
"""Knobs of the published network, except for those of its input."""

MOBILENET = Family(
    name="mobilenet",
    knobs=_knobs,
    baseline=lambda _: V2,
    resolution=lambda knobs: int(knobs["resolution"]),
    build=_build,
    source="Sandler et al., MobileNetV2, CVPR 2018; Howard et al., MobileNetV3, ICCV 2019",
    variants={"mobilenet_v2": {"stem": "image", **V2, "resolution": 224}},
    shared_names=inverted_name,
)
