"""Multiply-accumulates of a model's file by class of operator: dense, convolution, depthwise, pointwise."""

import struct
from collections import defaultdict
from math import prod
from pathlib import Path
from typing import Any

from paredown.evaluators.devices.board_latency import OperatorMacs
from paredown.evaluators.errors import DeviceError

CONVOLUTIONS = frozenset({"Conv", "QLinearConv", "ConvInteger"})
PRODUCTS = frozenset({"Gemm", "MatMul", "QLinearMatMul", "MatMulInteger", "QGemm"})
WEIGHT = {"QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}
"""Position of the second factor among the inputs, where it is not 1."""
BROKEN = (struct.error, AttributeError, IndexError, OverflowError, TypeError, ValueError)
"""What the generated classes of the TensorFlow Lite schema raise where a file is cut off or is none."""


def operator_macs(file: Path) -> OperatorMacs:
    """Return the multiply-accumulates of one image.

    Args:
        file: ONNX, or TensorFlow Lite (`.tflite`).

    Raises:
        DeviceError: The file is no model of its kind, or the shape of a product cannot be told.
    """
    if file.suffix == ".tflite":
        from paredown.evaluators.litert.tflite_macs import tflite_macs

        try:
            return tflite_macs(file.read_bytes())
        except BROKEN as error:
            raise DeviceError(f"{file}: is no TensorFlow Lite model, or is damaged") from error
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.shape_inference.infer_shapes(onnx.load(file, load_external_data=False), data_prop=True)
    except (OSError, DecodeError, onnx.onnx_cpp2py_export.shape_inference.InferenceError) as error:
        raise DeviceError(f"{file}: is no ONNX model: {error}") from error
    shapes = _shapes(model.graph)
    found: dict[str, float] = defaultdict(float)
    for node in model.graph.node:
        if node.op_type not in CONVOLUTIONS | PRODUCTS:
            continue
        if len(node.input) <= WEIGHT.get(node.op_type, 1) or not node.output:
            raise DeviceError(f"{file}: is no ONNX model: {node.name or node.op_type} lacks an input or an output")
        weight, output = (shapes.get(name) for name in (node.input[WEIGHT.get(node.op_type, 1)], node.output[0]))
        if not weight or not output:
            raise DeviceError(f"{file}: the shape of {node.name or node.op_type} cannot be told")
        if node.op_type in PRODUCTS:
            found["dense"] += prod(output) * _inner(node, weight)
        else:
            found[_class(node, weight)] += prod(output) * prod(weight[1:])
    return OperatorMacs(**found)


def _inner(node: Any, weight: tuple[int, ...]) -> int:
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return weight[-1] if transposed or len(weight) == 1 else weight[-2]


def _class(node: Any, weight: tuple[int, ...]) -> str:
    groups = next((a.i for a in node.attribute if a.name == "group"), 1)
    if groups > 1 and weight[1] == 1:
        return "depthwise"
    return "pointwise" if prod(weight[2:]) == 1 else "convolution"


def _shapes(graph: Any) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor; a number of images that is left open counts as one."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shape = tuple(d.dim_value or 1 for d in value.type.tensor_type.shape.dim)
        shapes.setdefault(value.name, shape)
    return shapes
