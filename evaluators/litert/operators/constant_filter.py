"""Depthwise convolutions of one constant, which are exact where TensorFlow Lite has no operator of two grids."""

import numpy as np

from paredown.evaluators.litert.integer_graph import Value
from paredown.evaluators.litert.operators.lowering import LARGEST, Lowering
from paredown.evaluators.litert.operators.padding import Window, padded, padding

ENDS = (-(2**31), 2**31 - 1)
"""Least and largest bias."""


def constant_filter(
    lowering: Lowering, x: Value, output: Value, window: Window, slope: float, offset: float = 0.0
) -> None:
    """Write `slope * (sum over the window) + offset`, channel by channel, as DEPTHWISE_CONV_2D.

    Args:
        lowering: The file in the making.
        x: What the filter moves over.
        output: What comes out; the ends of its grid bound it.
        window: The window.
        slope: The constant.
        offset: What is added.
    """
    channels, scale = x.shape[1], slope / LARGEST
    kind, sides = padding(window, x, output.shape)
    given = lowering.tensor(x) if sides is None else padded(lowering, x, sides)
    data = np.full((1, *window.kernel, channels), LARGEST, np.int8)
    weights = lowering.file.tensor(data.shape, scales=[scale], data=data)
    sums = x.grid.scale * scale
    # The grid of an untrained network may be so fine that the offset is beyond 32 bits; there it saturates, as the
    # sum would.
    biases = np.full(channels, np.clip(np.rint(offset / sums), *ENDS), np.int32)
    bias = lowering.file.tensor(biases.shape, "INT32", scales=[sums], data=biases)
    lowering.file.operator(
        "DEPTHWISE_CONV_2D",
        [given, weights, bias],
        lowering.tensor(output),
        padding=kind,
        strideH=window.strides[0],
        strideW=window.strides[1],
        depthMultiplier=1,
    )
