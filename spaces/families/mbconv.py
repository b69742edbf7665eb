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
from paredown.spaces.families.layers import ACTIVATIONS, InvertedBottleneck, SqueezeExcite, classifier, convolution
from paredown.spaces.families.naming import inverted_names
from paredown.spaces.knob import Choice, Knob, Knobs, Range

STEM_CHANNELS = 8
HEAD_CHANNELS = 48
STAGES = ((8, 1, 1), (12, 1, 2), (20, 1, 2))
"""Channels, blocks and stride of each stage at depth 1 and width 1."""
PHI_MAX = 7
GAMMA = 1.15
MULTIPLE = 4
"""Channels and resolutions are multiples of it."""


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

    The resolution is held to `largest_resolution`, the largest of the task; candidates of older studies do not
    name it and are not held.

    Source:
        EfficientNet, equation 3: depth alpha^phi, width beta^phi, resolution gamma^phi.
    """
    if knobs["scaling"] == "free":
        return float(knobs["depth"]), float(knobs["width"]), int(knobs["resolution"])
    phi = float(knobs["phi"])
    resolution = float(knobs["smallest_resolution"]) * float(knobs["gamma"]) ** phi
    side = min(_rounded(resolution), int(knobs.get("largest_resolution", sys.maxsize)))
    return float(knobs["alpha"]) ** phi, float(knobs["beta"]) ** phi, side


def _rounded(value: float) -> int:
    return max(MULTIPLE, round(value / MULTIPLE) * MULTIPLE)


def _build(knobs: Knobs, shape: ImageShape, classes: int) -> nn.Module:
    depth, width, _ = scaling(knobs)
    activation = ACTIVATIONS[str(knobs["activation"])]
    channels = _rounded(STEM_CHANNELS * width)
    layers: list[nn.Module] = [*convolution(shape[0], channels, 3, 2), activation()]
    for stage_channels, blocks, stride in STAGES:
        outputs = _rounded(stage_channels * width)
        for block in range(math.ceil(blocks * depth)):
            excite = functools.partial(SqueezeExcite, squeezed=max(MULTIPLE, channels // 4))
            layers.append(
                InvertedBottleneck(
                    channels,
                    outputs,
                    stride if block == 0 else 1,
                    kernel=int(knobs["kernel"]),
                    expansion=int(knobs["expansion"]),
                    activation=activation,
                    excite=excite if knobs["squeeze_excite"] else None,
                )
            )
            channels = outputs
    head = _rounded(HEAD_CHANNELS * width)
    layers += [*convolution(channels, head, 1, 1), activation(), *classifier(head, classes)]
    return nn.Sequential(*layers)


def _shared_names(knobs: Knobs) -> dict[str, str]:
    depth, _, _ = scaling(knobs)
    blocks = [math.ceil(n * depth) for _, n, _ in STAGES]
    return inverted_names(blocks, [int(knobs["expansion"])] * len(STAGES), squeeze_excite=bool(knobs["squeeze_excite"]))


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
    shared_names=_shared_names,
)
