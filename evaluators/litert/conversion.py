"""From an int8 ONNX file to the int8 TensorFlow Lite file that computes with the same integers."""

from paredown.evaluators.litert.integer_graph import IntegerGraph, read_integer_graph
from paredown.evaluators.litert.operators.catalogue import OPERATORS
from paredown.evaluators.litert.operators.lowering import Lowering
from paredown.evaluators.litert.operators.shapes import reshaped
from paredown.evaluators.litert.target import Granularity
from paredown.evaluators.litert.tflite_file import TfliteFile


def tflite_model(model: bytes, granularity: Granularity = "channel") -> bytes:
    """Return the TensorFlow Lite file of an int8 ONNX file; input and output are int8, images channels last.

    Args:
        model: ONNX, as the step `quantization` writes it with int8 weights and uint8 activations.
        granularity: Whether weights keep their one scale a channel, or are rounded anew to one scale a tensor.

    Raises:
        NoIntegerFile: A part of the file is not int8, or an operator has no counterpart.
    """
    return lowered(read_integer_graph(model, OPERATORS), granularity)[0]


def lowered(graph: IntegerGraph, granularity: Granularity = "channel") -> tuple[bytes, Lowering]:
    """Return the file of an integer graph, and where each of its tensors is in it."""
    lowering = Lowering(TfliteFile(), granularity)
    given = lowering.tensor(graph.input)
    for operation, output in graph.operations():
        OPERATORS[operation.kind](operation, output, lowering)
    shape, grid = graph.output.shape, graph.output.grid
    logits = lowering.file.tensor(shape, scales=[grid.scale], zero_point=grid.zero_point)
    reshaped(lowering, lowering.tensor(graph.output), logits, shape)
    return lowering.file.written(given, logits), lowering
