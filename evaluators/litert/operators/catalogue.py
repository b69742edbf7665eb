"""The operators of ONNX that can be written, each with the function that writes it."""

from collections.abc import Callable

from paredown.evaluators.litert.integer_graph import Operation, Value
from paredown.evaluators.litert.operators import convolution, elementwise, pooling, product, shapes
from paredown.evaluators.litert.operators.lowering import Lowering

Write = Callable[[Operation, Value, Lowering], None]
"""(operation, its output, the file in the making); it raises NoIntegerFile where the operation cannot be written."""

OPERATORS: dict[str, Write] = {
    "Add": elementwise.two_tensors,
    "AveragePool": pooling.average,
    "Clip": elementwise.requantize,
    "Concat": shapes.concatenation,
    "Conv": convolution.convolution,
    "Flatten": shapes.flattened,
    "Gemm": product.product,
    "GlobalAveragePool": pooling.mean_of_image,
    "HardSigmoid": elementwise.hard_sigmoid,
    "HardSwish": elementwise.hard_swish,
    "MatMul": product.product,
    "MaxPool": pooling.maximum,
    "Mul": elementwise.two_tensors,
    "ReduceMean": pooling.mean_of_image,
    "Relu": elementwise.requantize,
    "Requantize": elementwise.requantize,
    "Reshape": shapes.flattened,
    "Sigmoid": elementwise.sigmoid,
    "Slice": shapes.part,
}
