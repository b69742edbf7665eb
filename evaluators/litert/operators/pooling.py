"""Pooling and means."""

import numpy as np

from paredown.evaluators.litert.integer_graph import Operation, Value
from paredown.evaluators.litert.operators.constant_filter import constant_filter
from paredown.evaluators.litert.operators.lowering import Lowering, only_value
from paredown.evaluators.litert.operators.padding import VALID, Window, padded, padding

FEW_PIXELS = 4
"""Pixels up to which a mean is a filter, whose constants take a byte a pixel and channel."""
LEAST = -128
"""The least int8, which a maximum never takes from the padding."""


def maximum(operation: Operation, output: Value, lowering: Lowering) -> None:
    """Write MAX_POOL_2D."""
    x = only_value(operation)
    window = Window.of(operation, tuple(operation.attributes["kernel_shape"]))
    if window.dilations != (1, 1):
        raise operation.refused("a dilated window; allowed: dilation 1")
    kind, sides = padding(window, x, output.shape)
    given = lowering.tensor(x) if sides is None else padded(lowering, x, sides, LEAST)
    lowering.same_grid(x, output, lambda made: _pool(lowering, "MAX_POOL_2D", given, made, window, kind))


def average(operation: Operation, output: Value, lowering: Lowering) -> None:
    """Write AVERAGE_POOL_2D, which leaves the padding out of the mean, or a filter of one constant, which counts it.

    The filter also serves where the output has a grid of its own: AVERAGE_POOL_2D would round twice.
    """
    x = only_value(operation)
    window = Window.of(operation, tuple(operation.attributes["kernel_shape"]))
    kind, sides = padding(window, x, output.shape)
    counts = bool(operation.attributes.get("count_include_pad", 0)) or (kind == VALID and sides is None)
    if counts and (x.grid != output.grid or kind != VALID or sides is not None):
        constant_filter(lowering, x, output, window, 1 / (window.kernel[0] * window.kernel[1]))
        return
    if sides is not None:
        raise operation.refused("padding on one side that the mean leaves out")
    given = lowering.tensor(x)
    lowering.same_grid(x, output, lambda made: _pool(lowering, "AVERAGE_POOL_2D", given, made, window, kind))


def _pool(lowering: Lowering, name: str, given: int, made: int, window: Window, kind: int) -> None:
    lowering.file.operator(
        name,
        [given],
        made,
        padding=kind,
        strideH=window.strides[0],
        strideW=window.strides[1],
        filterHeight=window.kernel[0],
        filterWidth=window.kernel[1],
    )


def mean_of_image(operation: Operation, output: Value, lowering: Lowering) -> None:
    """Write the mean over height and width: AVERAGE_POOL_2D on one grid, MEAN where the output has its own.

    MEAN rounds the sum on the output's scale before it divides, which takes some of its outputs one step away from
    zero, the more the fewer pixels there are. A filter of one constant, which rounds once, takes its place then.
    """
    x = only_value(operation)
    if len(x.shape) != 4:
        raise operation.refused(f"its input has {len(x.shape)} axes; allowed: 4")
    if operation.kind == "ReduceMean" and _axes(operation) != [2, 3]:
        raise operation.refused("a mean over other axes than height and width")
    side = (x.shape[2], x.shape[3])
    window, pixels = Window(side, (1, 1), (1, 1), ((0, 0), (0, 0))), side[0] * side[1]
    if x.grid == output.grid:
        _pool(lowering, "AVERAGE_POOL_2D", lowering.tensor(x), lowering.tensor(output), window, VALID)
        return
    if pixels <= FEW_PIXELS:
        constant_filter(lowering, x, output, window, 1 / pixels)
        return
    inputs = [lowering.tensor(x), lowering.integers([1, 2])]
    lowering.file.operator("MEAN", inputs, lowering.tensor(output), keepDims=True)


def _axes(operation: Operation) -> list[int]:
    given = operation.attributes.get("axes")
    if given is None and operation.parameters and operation.parameters[0] is not None:
        given = np.ravel(operation.parameters[0]).tolist()
    return sorted(axis % 4 for axis in given or ())
