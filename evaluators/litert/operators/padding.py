"""Padding: ONNX names the rows on each side, TensorFlow Lite knows `SAME`, `VALID` and an operator of its own."""

from dataclasses import dataclass

import numpy as np

from paredown.evaluators.litert.integer_graph import Operation, Value
from paredown.evaluators.litert.operators.lowering import Lowering, channels_last

SAME, VALID = 0, 1
Sides = tuple[int, int]
"""Rows before the first one and after the last one."""


@dataclass(frozen=True)
class Window:
    """A window that moves over images.

    Attributes:
        kernel: Height and width.
        strides: Vertical and horizontal stride.
        dilations: Vertical and horizontal dilation.
        sides: Padding of ONNX, vertical and horizontal.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    sides: tuple[Sides, ...]

    @classmethod
    def of(cls, operation: Operation, kernel: tuple[int, ...]) -> "Window":
        """Return the window of a convolution or pooling.

        Raises:
            NoIntegerFile: It is not one over two axes, or names its padding in an old way.
        """
        given = operation.attributes
        if len(kernel) != 2:
            raise operation.refused(f"a window over {len(kernel)} axes; allowed: 2")
        if given.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or given.get("ceil_mode", 0):
            raise operation.refused("padding by auto_pad or ceil_mode; allowed: explicit padding")
        top, left, bottom, right = given.get("pads", (0, 0, 0, 0))
        two = (1, 1)
        return cls(
            kernel, tuple(given.get("strides", two)), tuple(given.get("dilations", two)), ((top, bottom), (left, right))
        )

    def needed(self, axis: int, length: int, outputs: int) -> Sides:
        """Return the padding that the outputs look at: ONNX may name rows behind the last window."""
        reach = (outputs - 1) * self.strides[axis] + (self.kernel[axis] - 1) * self.dilations[axis] + 1
        before = self.sides[axis][0]
        return before, max(0, reach - before - length)

    def same(self, axis: int, length: int) -> Sides:
        """Return the padding of `SAME`."""
        outputs = -(-length // self.strides[axis])
        reach = (outputs - 1) * self.strides[axis] + (self.kernel[axis] - 1) * self.dilations[axis] + 1
        total = max(0, reach - length)
        return total // 2, total - total // 2


PIXEL = Window((1, 1), (1, 1), (1, 1), ((0, 0), (0, 0)))
"""The window that sees one pixel and moves to each."""


def padding(window: Window, x: Value, shape: tuple[int, ...]) -> tuple[int, tuple[Sides, Sides] | None]:
    """Return `SAME` or `VALID`, and the padding that must come before it; None where there is none.

    Args:
        window: The window.
        x: What it moves over.
        shape: Shape of the output in ONNX.
    """
    lengths, outputs = channels_last(x.shape)[1:3], channels_last(shape)[1:3]
    needed = [window.needed(axis, lengths[axis], outputs[axis]) for axis in (0, 1)]
    if needed == [(0, 0), (0, 0)]:
        return VALID, None
    is_same = all(
        outputs[axis] == -(-lengths[axis] // window.strides[axis]) and needed[axis] == window.same(axis, lengths[axis])
        for axis in (0, 1)
    )
    return (SAME, None) if is_same else (VALID, (needed[0], needed[1]))


def padded(lowering: Lowering, x: Value, sides: tuple[Sides, Sides], fill: int | None = None) -> int:
    """Write the operator that pads, and return the number of its output.

    Args:
        lowering: The file in the making.
        x: What is padded.
        sides: Rows and columns on each side.
        fill: The integer to pad with; None for that which stands for 0.
    """
    n, c, h, w = x.shape
    output = lowering.on_grid((n, c, h + sum(sides[0]), w + sum(sides[1])), x.grid)
    _pad(lowering, x, output, ((0, 0), *sides, (0, 0)), fill)
    return output


def _pad(lowering: Lowering, x: Value, output: int, sides: tuple[Sides, ...], fill: int | None) -> None:
    table = np.array(sides, np.int32)
    amounts = lowering.file.tensor(table.shape, "INT32", data=table)
    inputs = [lowering.tensor(x), amounts]
    if fill is None:
        lowering.file.operator("PAD", inputs, output)
        return
    data = np.array([fill], np.int8)
    constant = lowering.file.tensor((1,), scales=[x.grid.scale], zero_point=x.grid.zero_point, data=data)
    lowering.file.operator("PADV2", [*inputs, constant], output)
