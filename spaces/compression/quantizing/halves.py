"""Weights of two bytes: float16 throughout the network, or bfloat16 in the file alone.

ONNX Runtime's CPU kernels do not compute in bfloat16, so a bfloat16 weight is cast back to float32 when the model is
loaded: half the bytes, the speed of float32.
"""

import warnings
from collections.abc import Sequence

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from paredown.spaces.compression.node_names import excluded_nodes

SMALLEST = 64
"""Numbers below which a tensor stays float32: the cast would take more bytes than it saves."""


def to_float16(model: bytes, excluded: Sequence[str] = ()) -> bytes:
    """Return the ONNX model in float16, with inputs and outputs as they were.

    Args:
        model: ONNX.
        excluded: Names of layers that stay float32, with `*`, `?` and `[...]`.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        # Weights below the smallest float16 become that number; the converter warns of each one.
        warnings.simplefilter("ignore", UserWarning)
        proto = onnx.load_from_string(model)
        blocked = list(excluded_nodes(proto.graph, excluded))
        narrow = convert_float_to_float16(proto, keep_io_types=True, node_block_list=blocked)
    return bytes(narrow.SerializeToString())


def to_bfloat16(model: bytes, excluded: Sequence[str] = ()) -> bytes:
    """Return the ONNX model with its larger float32 tensors stored in bfloat16, to the nearest even.

    Args:
        model: ONNX.
        excluded: Names of layers that stay float32, with `*`, `?` and `[...]`.
    """
    proto = onnx.load_from_string(model)
    blocked = excluded_nodes(proto.graph, excluded)
    kept = {name for node in proto.graph.node if node.name in blocked for name in node.input}
    casts = []
    for tensor in proto.graph.initializer:
        if (
            tensor.name in kept
            or tensor.data_type != TensorProto.FLOAT
            or numpy_helper.to_array(tensor).size < SMALLEST
        ):
            continue
        name, shape = tensor.name, list(tensor.dims)
        values = torch.from_numpy(numpy_helper.to_array(tensor).copy()).to(torch.bfloat16)
        raw = values.view(torch.int16).numpy().astype("<i2").tobytes()
        tensor.CopyFrom(helper.make_tensor(f"{name}_bfloat16", TensorProto.BFLOAT16, shape, raw, raw=True))
        casts.append(helper.make_node("Cast", [tensor.name], [name], name=f"{name}_cast", to=TensorProto.FLOAT))
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend([*casts, *nodes])
    return bytes(proto.SerializeToString())
