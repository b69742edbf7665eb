"""Multiply-accumulates of a TensorFlow Lite file by class of operator."""

from collections import defaultdict
from math import prod
from typing import Any

from paredown.evaluators.devices.board_latency import OperatorMacs
from paredown.evaluators.litert.extra import require_mcu


def tflite_macs(model: bytes) -> OperatorMacs:
    """Return the multiply-accumulates of one image.

    A convolution of one pixel is a matrix product, which is how classifiers are written.

    Raises:
        ExtraMissing: The extra `mcu` is not installed.
    """
    require_mcu()
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

    file = schema.Model.GetRootAs(model, 0)
    graph, kinds = file.Subgraphs(0), schema.BuiltinOperator
    found: dict[str, float] = defaultdict(float)

    def shape(number: int) -> list[int]:
        return [int(side) for side in graph.Tensors(number).ShapeAsNumpy()]

    for at in range(graph.OperatorsLength()):
        step: Any = graph.Operators(at)
        kind = file.OperatorCodes(step.OpcodeIndex()).BuiltinCode()
        if kind not in (kinds.CONV_2D, kinds.DEPTHWISE_CONV_2D, kinds.FULLY_CONNECTED):
            continue
        weights, output = shape(step.Inputs(1)), shape(step.Outputs(0))
        if kind == kinds.DEPTHWISE_CONV_2D:  # 1 x height x width x channels
            found["depthwise"] += prod(output) * prod(weights[1:3])
        elif kind == kinds.FULLY_CONNECTED or prod(output[1:3]) == 1:
            found["dense"] += prod(output) * prod(weights[1:])
        else:  # channels out x height x width x channels in
            found["pointwise" if prod(weights[1:3]) == 1 else "convolution"] += prod(output) * prod(weights[1:])
    return OperatorMacs(**found)
