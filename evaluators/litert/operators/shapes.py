"""Operators that move values and leave them as they are."""

from collections.abc import Sequence

import numpy as np

from paredown.evaluators.litert.integer_graph import Operation, Value
from paredown.evaluators.litert.operators.lowering import Lowering, axis_of, channels_last, only_value

CHANNELS_FIRST = (0, 3, 1, 2)


def concatenation(operation: Operation, output: Value, lowering: Lowering) -> None:
    """Write CONCATENATION, whose inputs must be on the grid of its output."""
    inputs = []
    for one in operation.inputs:
        number = lowering.tensor(one)
        if isinstance(one, Value) and one.grid != output.grid:
            between = lowering.on_grid(one.shape, output.grid)
            lowering.file.operator("QUANTIZE", [number], between)
            number = between
        elif not isinstance(one, Value):
            raise operation.refused("a constant is one of its inputs")
        inputs.append(number)
    axis = axis_of(int(operation.attributes["axis"]), len(output.shape))
    lowering.file.operator("CONCATENATION", inputs, lowering.tensor(output), axis=axis)


def part(operation: Operation, output: Value, lowering: Lowering) -> None:
    """Write SLICE."""
    x, rank = only_value(operation), len(output.shape)
    starts, _, axes, steps = (*operation.parameters, None, None)[:4]
    if starts is None:
        raise operation.refused("bounds that are computed; allowed: constants")
    if steps is not None and (np.ravel(steps) != 1).any():
        raise operation.refused("steps other than 1")
    begin, size = [0] * rank, [0] * rank
    named = range(len(starts)) if axes is None else np.ravel(axes).tolist()
    first = dict(zip([axis % rank for axis in named], np.ravel(starts).tolist(), strict=True))
    for axis, length in enumerate(output.shape):
        at = max(-x.shape[axis], min(first.get(axis, 0), x.shape[axis]))
        begin[axis_of(axis, rank)], size[axis_of(axis, rank)] = at % max(1, x.shape[axis]), length
    inputs = [lowering.tensor(x), lowering.integers(begin), lowering.integers(size)]
    lowering.same_grid(x, output, lambda made: lowering.file.operator("SLICE", inputs, made))


def flattened(operation: Operation, output: Value, lowering: Lowering) -> None:
    """Write what turns images into features: nothing for one pixel; else TRANSPOSE to ONNX's order and RESHAPE."""
    x = only_value(operation)
    if len(output.shape) != 2:
        raise operation.refused(f"from {len(x.shape)} axes to {len(output.shape)}; allowed: images to features")
    given = lowering.tensor(x)
    if channels_last(x.shape) == channels_last(output.shape):
        if x.grid == output.grid:
            lowering.alias(output, given)
        else:
            lowering.file.operator("QUANTIZE", [given], lowering.tensor(output))
        return
    between = lowering.file.tensor(x.shape, scales=[x.grid.scale], zero_point=x.grid.zero_point)
    lowering.file.operator("TRANSPOSE", [given, lowering.integers(CHANNELS_FIRST)], between)
    lowering.same_grid(x, output, lambda made: reshaped(lowering, between, made, channels_last(output.shape)))


def reshaped(lowering: Lowering, given: int, made: int, shape: Sequence[int]) -> None:
    """Write RESHAPE."""
    lowering.file.operator("RESHAPE", [given, lowering.integers(shape)], made, newShape=list(shape))
