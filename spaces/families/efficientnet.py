"""EfficientNet: one network, B0, scaled in depth, width and resolution at once; B0 to B7 as published.

Source:
    Tan, Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019: table 1 (B0),
    equation 3 (compound scaling), section 5 (B1 to B7; their rounded coefficients are in the published code).
"""

import functools
import math
from collections.abc import Mapping

from torch import nn

from paredown.spaces.families.family import Family, ImageShape, check_side
from paredown.spaces.families.layers import ACTIVATIONS, InvertedBottleneck, SqueezeExcite, divisible, inverted_name
from paredown.spaces.families.staged import Stage, StagedNetwork
from paredown.spaces.knob import Choice, Knob, Knobs, Range, Value

STEM_CHANNELS, HEAD_CHANNELS = 32, 1280
STAGES = (
    (1, 3, 16, 1),
    (6, 3, 24, 2),
    (6, 5, 40, 2),
    (6, 3, 80, 3),
    (6, 5, 112, 3),
    (6, 5, 192, 4),
    (6, 3, 320, 1),
)
"""Expansion, kernel, channels and blocks of each stage of B0."""
STRIDES = {"image": (2, 1, 2, 2, 2, 1, 2, 1), "small": (1, 1, 1, 2, 2, 1, 2, 1)}
"""Strides of the stem and of each stage: as published, and for images of 8 to 64 px."""
SMALL = 64
"""Below this side of its largest images, in pixels, a task has the stem `small` alone."""
SMALLER = "stem small from 8 px"
"""What a message suggests where images are too small for the stem `image`."""
COST = 2.0
"""Equation 3: one unit of phi multiplies the MACs by alpha * beta^2 * gamma^2, which should be close to this."""
GRID = 0.05
"""Step of the coefficients, as in the paper's grid search."""
MULTIPLE = 4
"""Resolutions are multiples of this number of pixels."""

COEFFICIENTS = {
    "b0": (1.0, 1.0, 224),
    "b1": (1.0, 1.1, 240),
    "b2": (1.1, 1.2, 260),
    "b3": (1.2, 1.4, 300),
    "b4": (1.4, 1.8, 380),
    "b5": (1.6, 2.2, 456),
    "b6": (1.8, 2.6, 528),
    "b7": (2.0, 3.1, 600),
}
"""Width, depth and resolution of each published network."""


def _knobs(resolutions: Range) -> Mapping[str, Knob]:
    low, high, step = int(resolutions.low), int(resolutions.high), int(resolutions.step)
    phi_max = 2.0 if high < SMALL else 7.0
    at_zero = int(resolutions.nearest(high / gamma(1.2, 1.1) ** phi_max))
    compound, free = ("scaling", "compound"), ("scaling", "free")
    return {
        "stem": Choice(("small",) if high < SMALL else ("small", "image")),
        "scaling": Choice(("compound", "free")),
        "phi": Range(-6.0, phi_max, 0.5, only_if=compound),
        "alpha": Range(1.0, 1.35, GRID, only_if=compound),
        "beta": Range(1.0, 1.2, GRID, only_if=compound),
        "smallest_resolution": Range(low, low, step, only_if=compound),
        "resolution_at_zero": Range(at_zero, at_zero, step, only_if=compound),
        "largest_resolution": Range(high, high, step, only_if=compound),
        "depth": Range(0.3, 3.1, 0.1, only_if=free),
        "width": Range(0.2, 2.0, 0.1, only_if=free),
        "resolution": Range(low, high, step, only_if=free),
        "activation": Choice(("relu", "silu", "hardswish")),
    }


def _baseline(resolutions: Range) -> Mapping[str, Value]:
    """Return B0 at phi 1, with the stem `image` where the images at that scale are large enough for its strides."""
    scaled: dict[str, Value] = {"scaling": "compound", "phi": 1.0, "alpha": 1.2, "beta": 1.1}
    _, _, side = scaling({name: knob.highest for name, knob in _knobs(resolutions).items()} | scaled)
    return {"stem": "image" if side >= math.prod(STRIDES["image"]) else "small", **scaled, "activation": "silu"}


def gamma(alpha: float, beta: float) -> float:
    """Return the coefficient of resolution that keeps equation 3, on the paper's grid; at least 1.

    With the published alpha = 1.2 and beta = 1.1 it is the published 1.15.
    """
    return max(1.0, round(round(math.sqrt(COST / (alpha * beta**2)) / GRID) * GRID, 2))


def scaling(knobs: Knobs) -> tuple[float, float, int]:
    """Return the multipliers of depth and width, and the resolution in pixels.

    Source:
        Equation 3: depth alpha^phi, width beta^phi, resolution gamma^phi, here times the resolution at phi = 0 and
        limited to what the task allows. A negative phi shrinks B0 by the same rule.
    """
    if knobs["scaling"] == "free":
        return float(knobs["depth"]), float(knobs["width"]), int(knobs["resolution"])
    phi, alpha, beta = (float(knobs[name]) for name in ("phi", "alpha", "beta"))
    resolution = float(knobs["resolution_at_zero"]) * gamma(alpha, beta) ** phi
    nearest = round(resolution / MULTIPLE) * MULTIPLE
    largest = int(knobs["largest_resolution"])
    side = min(max(nearest, int(knobs["smallest_resolution"])), largest)
    side = largest if side > largest - MULTIPLE else side  # it may be no multiple
    return alpha**phi, beta**phi, side


def _build(knobs: Knobs, shape: ImageShape, classes: int) -> nn.Module:
    depth, width, _ = scaling(knobs)
    strides = STRIDES[str(knobs["stem"])]
    check_side("efficientnet", shape, math.prod(strides), SMALLER if knobs["stem"] == "image" else "")
    activation = ACTIVATIONS[str(knobs["activation"])]

    def block(expansion: int, kernel: int, inputs: int, outputs: int, stride: int) -> nn.Module:
        excite = functools.partial(SqueezeExcite, squeezed=max(1, inputs // 4), activation=activation)
        return InvertedBottleneck(
            inputs, outputs, stride, kernel=kernel, expansion=expansion, activation=activation, excite=excite
        )

    stages = [
        Stage(divisible(outputs * width), _repeated(blocks, depth), stride, functools.partial(block, expansion, kernel))
        for (expansion, kernel, outputs, blocks), stride in zip(STAGES, strides[1:], strict=True)
    ]
    return StagedNetwork(
        shape,
        classes,
        stem=divisible(STEM_CHANNELS * width),
        stem_stride=strides[0],
        stages=stages,
        head=divisible(HEAD_CHANNELS * width),
        activation=activation,
    )


def _repeated(blocks: int, depth: float) -> int:
    """Return how many blocks a stage has; 5 x 0.6 is 3, not 3.0000000000000004."""
    return math.ceil(round(blocks * depth, 6))


def _published(width: float, depth: float, resolution: int) -> Knobs:
    free: dict[str, Value] = {"scaling": "free", "depth": depth, "width": width, "resolution": resolution}
    return {"stem": "image", **free, "activation": "silu"}


EFFICIENTNET = Family(
    name="efficientnet",
    knobs=_knobs,
    baseline=_baseline,
    resolution=lambda knobs: scaling(knobs)[2],
    build=_build,
    source="Tan, Le, EfficientNet, ICML 2019",
    variants={f"efficientnet_{name}": _published(*numbers) for name, numbers in COEFFICIENTS.items()},
    shared_names=inverted_name,
)
