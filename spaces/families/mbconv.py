"""Mobile inverted bottlenecks with EfficientNet's compound scaling.

Source:
    Tan, Le, EfficientNet, ICML 2019, section 3.3 (compound scaling, equation 3);
    Sandler et al., MobileNetV2, CVPR 2018, section 3.3 (the block);
    Hu et al., Squeeze-and-Excitation Networks, CVPR 2018, section 3.
"""

import functools
import math
import sys
from collections.abc import Mapping

from torch import nn

from paredown.spaces.families.family import Family, ImageShape
from paredown.spaces.families.layers import ACTIVATIONS, InvertedBottleneck, SqueezeExcite, inverted_name
from paredown.spaces.families.staged import Stage, StagedNetwork
from paredown.spaces.knob import Choice, Knob, Knobs, Range

STEM_CHANNELS = 8
HEAD_CHANNELS = 48
STAGES = ((8, 1, 1), (12, 1, 2), (20, 1, 2))
"""Channels, blocks and stride of each stage at depth 1 and width 1."""
PHI_MAX = 7
GAMMA = 1.15
MULTIPLE = 4
"""Channels and resolutions are multiples of this number."""


def _knobs(resolutions: Range) -> Mapping[str, Knob]:
    smallest, step = int(resolutions.nearest(float(resolutions.high) / GAMMA**PHI_MAX)), int(resolutions.step)
    largest = int(resolutions.high)
    return {
        "scaling": Choice(("compound", "free")),
        "phi": Range(0.0, float(PHI_MAX), 0.5, only_if=("scaling", "compound")),
        "alpha": Range(1.0, 1.5, 0.05, only_if=("scaling", "compound")),
        "beta": Range(1.0, 1.5, 0.05, only_if=("scaling", "compound")),
        "gamma": Range(1.0, 1.5, 0.05, only_if=("scaling", "compound")),
        "smallest_resolution": Range(smallest, smallest, step, only_if=("scaling", "compound")),
        "largest_resolution": Range(largest, largest, step, only_if=("scaling", "compound")),
        "depth": Range(1.0, 4.0, 0.5, only_if=("scaling", "free")),
        "width": Range(0.5, 3.0, 0.25, only_if=("scaling", "free")),
        "resolution": Range(resolutions.low, resolutions.high, resolutions.step, only_if=("scaling", "free")),
        "kernel": Choice((3, 5)),
        "expansion": Choice((2, 4, 6)),
        "squeeze_excite": Choice((False, True)),
        "activation": Choice(("relu", "silu", "hardswish")),
    }


def scaling(knobs: Knobs) -> tuple[float, float, int]:
    """Return the multipliers of depth and width, and the resolution in pixels.

    The resolution is limited to `largest_resolution`, the largest of the task; candidates of older studies do not
    have this knob, nor the limit.

    Source:
        EfficientNet, equation 3: depth alpha^phi, width beta^phi, resolution gamma^phi.
    """
    if knobs["scaling"] == "free":
        return float(knobs["depth"]), float(knobs["width"]), int(knobs["resolution"])
    phi = float(knobs["phi"])
    resolution = float(knobs["smallest_resolution"]) * float(knobs["gamma"]) ** phi
    largest = int(knobs.get("largest_resolution", sys.maxsize))
    side = min(_rounded(resolution), largest)
    side = largest if side > largest - MULTIPLE else side  # it may be no multiple
    return float(knobs["alpha"]) ** phi, float(knobs["beta"]) ** phi, side


def _rounded(value: float) -> int:
    return max(MULTIPLE, round(value / MULTIPLE) * MULTIPLE)


def _build(knobs: Knobs, shape: ImageShape, classes: int) -> nn.Module:
    depth, width, _ = scaling(knobs)
    activation = ACTIVATIONS[str(knobs["activation"])]

    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        excite = functools.partial(SqueezeExcite, squeezed=max(MULTIPLE, inputs // 4))
        return InvertedBottleneck(
            inputs,
            outputs,
            stride,
            kernel=int(knobs["kernel"]),
            expansion=int(knobs["expansion"]),
            activation=activation,
            excite=excite if knobs["squeeze_excite"] else None,
        )

    return StagedNetwork(
        shape,
        classes,
        stem=_rounded(STEM_CHANNELS * width),
        stem_stride=2,
        stages=[Stage(_rounded(outputs * width), math.ceil(n * depth), stride, block) for outputs, n, stride in STAGES],
        head=_rounded(HEAD_CHANNELS * width),
        activation=activation,
    )


MBCONV = Family(
    name="mbconv",
    knobs=_knobs,
    baseline=lambda _: {
        "scaling": "compound",
        "alpha": 1.2,
        "beta": 1.1,
        "gamma": GAMMA,
        "kernel": 3,
        "expansion": 4,
        "activation": "silu",
    },
    resolution=lambda knobs: scaling(knobs)[2],
    build=_build,
    source="Tan, Le, EfficientNet, ICML 2019; Sandler et al., MobileNetV2, CVPR 2018",
    shared_names=inverted_name,
)
