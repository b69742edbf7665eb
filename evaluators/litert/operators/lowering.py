"""What the functions that write operators share: the file in the making, and where each integer tensor is in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.litert.integer_graph import Constant, Grid, Operation, Value
from paredown.evaluators.litert.target import Granularity
from paredown.evaluators.litert.tflite_file import TfliteFile

LARGEST = 127
"""Largest magnitude of an int8 weight."""
ROUNDING = 1e-3
"""Share of a step by which the end of a grid may lie beyond a bound."""


def channels_last(shape: Sequence[int]) -> tuple[int, ...]:
    """Return `n x h x w x c` for `n x c x h x w`; features `n x c` are images of one pixel."""
    n, c, h, w = shape if len(shape) == 4 else (*shape, 1, 1)
    return n, h, w, c


def axis_of(axis: int, rank: int) -> int:
    """Return where an axis of ONNX is in the file."""
    return (0, 3, 1, 2)[axis % rank]


@dataclass
class Lowering:
    """A graph on its way into a file.

    Attributes:
        file: The file in the making.
        granularity: Whether weights have one scale a channel or one a tensor.
    """

    file: TfliteFile
    granularity: Granularity
    _places: dict[int, int] = field(default_factory=dict)

    def tensor(self, value: Value | Constant) -> int:
        """Return the number of a tensor, which is added where it is new; constants are operands on a grid."""
        if id(value) in self._places:
            return self._places[id(value)]
        if isinstance(value, Value):
            place = self.on_grid(value.shape, value.grid)
        else:
            rank = value.integers.ndim
            integers = value.integers.transpose(0, 2, 3, 1) if rank == 4 else value.integers
            place = self.file.tensor(
                integers.shape, scales=value.scales, zero_point=value.zero_point, data=np.ascontiguousarray(integers)
            )
        self._places[id(value)] = place
        return place

    def alias(self, value: Value, tensor: int) -> None:
        """Let a tensor that is in the file stand for a value."""
        self._places[id(value)] = tensor

    def on_grid(self, shape: Sequence[int], grid: Grid) -> int:
        """Add an int8 tensor; the shape is that of ONNX."""
        return self.file.tensor(channels_last(shape), scales=[grid.scale], zero_point=grid.zero_point)

    def integers(self, values: Sequence[int]) -> int:
        """Add a constant of int32, such as the axes of a sum."""
        data = np.array(values, np.int32)
        return self.file.tensor(data.shape, "INT32", data=data)

    def weights(self, weight: Constant, layout: tuple[int, ...]) -> tuple[int, NDArray[np.float32]]:
        """Add weights; return their number and their scales.

        Args:
            weight: The weights as ONNX has them.
            layout: Order of their axes in the file.
        """
        integers, scales = weight.integers, weight.scales
        if self.granularity == "tensor" and scales.size > 1:
            shape = [-1 if axis == weight.axis else 1 for axis in range(integers.ndim)]
            real = integers * scales.reshape(shape).astype(np.float64)
            scales = np.array([max(np.abs(real).max() / LARGEST, np.finfo(np.float32).tiny)], np.float32)
            integers = np.clip(np.rint(real / scales[0]), -LARGEST, LARGEST).astype(np.int8)
        axis = layout.index(weight.axis) if scales.size > 1 else 0
        integers = np.ascontiguousarray(integers.transpose(layout))
        return self.file.tensor(integers.shape, scales=scales, axis=axis, data=integers), scales

    def bias(self, operation: Operation, x: Value, scales: NDArray[np.float32], outputs: int) -> int:
        """Add the biases of a layer, on the grid of its sums: scale of the input times scale of the weights."""
        grid = (np.float32(x.grid.scale) * scales).astype(np.float32)
        integers = np.zeros(outputs, np.int32)
        if len(operation.inputs) > 2:
            bias = operation.inputs[2]
            if not isinstance(bias, Constant):
                raise operation.refused("its bias is no constant")
            integers = bias.integers.astype(np.int32)
            if bias.scales.size != grid.size:
                integers = np.rint(integers * (bias.scales.astype(np.float64) / grid)).astype(np.int32)
        elif any(parameter is not None for parameter in operation.parameters):
            raise operation.refused("its bias is float32")
        return self.file.tensor((outputs,), "INT32", scales=grid, data=integers)

    def activation(self, operation: Operation, grid: Grid) -> int:
        """Return the activation that keeps the output within the operation's bounds; none where its grid does."""
        if within(grid, operation.bounds):
            return 0
        known = {(0.0, np.inf): 1, (0.0, 6.0): 3}
        if operation.bounds not in known:
            raise operation.refused("an activation whose bounds are {:g} and {:g}".format(*operation.bounds))
        return known[operation.bounds]

    def same_grid(self, x: Value, output: Value, write: Callable[[int], None]) -> None:
        """Write an operator that leaves values on the grid of its input, and take them to the output's grid after it.

        Args:
            x: What the operator takes.
            output: What has to come out.
            write: Writes the operator, given the number of its output.
        """
        if x.grid == output.grid:
            write(self.tensor(output))
            return
        between = self.on_grid(output.shape, x.grid)
        write(between)
        self.file.operator("QUANTIZE", [between], self.tensor(output))


def within(grid: Grid, bounds: tuple[float, float]) -> bool:
    """Return whether every value of a grid lies within bounds."""
    low, high = (grid.scale * (end - grid.zero_point) for end in (-128, 127))
    slack = ROUNDING * grid.scale
    return low >= bounds[0] - slack and high <= bounds[1] + slack


def only_value(operation: Operation) -> Value:
    """Return the one tensor that an operation takes."""
    (value,) = operation.inputs
    if not isinstance(value, Value):
        raise operation.refused("its input is a constant")
    return value
