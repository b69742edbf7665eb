"""Sums and products of two tensors, activations, and the move from one grid to another."""

from paredown.evaluators.litert.integer_graph import Grid, Operation, Value
from paredown.evaluators.litert.operators.constant_filter import constant_filter
from paredown.evaluators.litert.operators.lowering import Lowering, only_value, within
from paredown.evaluators.litert.operators.padding import PIXEL

KINDS = {"Add": "ADD", "Mul": "MUL"}
LOGISTIC_GRID = Grid(1 / 256, -128)
"""The only grid that LOGISTIC of TensorFlow Lite writes."""


def two_tensors(operation: Operation, output: Value, lowering: Lowering) -> None:
    """Write a sum or a product."""
    if len(operation.inputs) != 2:
        raise operation.refused("an operand is float32")
    activation = lowering.activation(operation, output.grid)
    inputs = [lowering.tensor(one) for one in operation.inputs]
    lowering.file.operator(KINDS[operation.kind], inputs, lowering.tensor(output), fusedActivationFunction=activation)


def hard_swish(operation: Operation, output: Value, lowering: Lowering) -> None:
    """Write HARD_SWISH."""
    lowering.file.operator("HARD_SWISH", [lowering.tensor(only_value(operation))], lowering.tensor(output))


def sigmoid(operation: Operation, output: Value, lowering: Lowering) -> None:
    """Write LOGISTIC, with a move to the output's grid where that is another one than LOGISTIC writes."""
    x = lowering.tensor(only_value(operation))
    if output.grid == LOGISTIC_GRID:
        lowering.file.operator("LOGISTIC", [x], lowering.tensor(output))
        return
    between = lowering.on_grid(output.shape, LOGISTIC_GRID)
    lowering.file.operator("LOGISTIC", [x], between)
    lowering.file.operator("QUANTIZE", [between], lowering.tensor(output))


def hard_sigmoid(operation: Operation, output: Value, lowering: Lowering) -> None:
    """Write a hard sigmoid: a straight line, which a 1 x 1 filter a channel draws, and the ends of its own grid."""
    x = only_value(operation)
    if not within(output.grid, (0.0, 1.0)):
        raise operation.refused("its grid goes beyond 0 and 1")
    slope, offset = operation.attributes.get("alpha", 0.2), operation.attributes.get("beta", 0.5)
    constant_filter(lowering, x, output, PIXEL, slope, offset)


def requantize(operation: Operation, output: Value, lowering: Lowering) -> None:
    """Write the move to another grid, which bounds values by the ends of that grid, as a rectifier does."""
    if not within(output.grid, operation.bounds):
        raise operation.refused("its grid goes beyond the bounds of the activation")
    lowering.file.operator("QUANTIZE", [lowering.tensor(only_value(operation))], lowering.tensor(output))
