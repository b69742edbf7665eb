"""Convolutions: dense, in groups, or one filter a channel."""

from paredown.evaluators.litert.integer_graph import Constant, Operation, Value
from paredown.evaluators.litert.operators.lowering import Lowering
from paredown.evaluators.litert.operators.padding import Window, padded, padding


def convolution(operation: Operation, output: Value, lowering: Lowering) -> None:
    """Write a convolution: CONV_2D, or DEPTHWISE_CONV_2D where each group has one input channel."""
    x, weight = operation.inputs[:2]
    if not isinstance(x, Value) or not isinstance(weight, Constant):
        raise operation.refused("its weights are no constants")
    window = Window.of(operation, weight.integers.shape[2:])
    outputs, depth = weight.integers.shape[:2]
    groups = operation.attributes.get("group", 1)
    is_depthwise = groups > 1 and depth == 1
    number, scales = lowering.weights(weight, (1, 2, 3, 0) if is_depthwise else (0, 2, 3, 1))
    kind, sides = padding(window, x, output.shape)
    given = lowering.tensor(x) if sides is None else padded(lowering, x, sides)
    options = {
        "padding": kind,
        "strideH": window.strides[0],
        "strideW": window.strides[1],
        "dilationHFactor": window.dilations[0],
        "dilationWFactor": window.dilations[1],
        "fusedActivationFunction": lowering.activation(operation, output.grid),
    }
    if is_depthwise:
        options["depthMultiplier"] = outputs // groups
    lowering.file.operator(
        "DEPTHWISE_CONV_2D" if is_depthwise else "CONV_2D",
        [given, number, lowering.bias(operation, x, scales, outputs)],
        lowering.tensor(output),
        **options,
    )
