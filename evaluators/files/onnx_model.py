"""Exports a network as an ONNX model, and makes the model smaller."""

import copy
import io
import warnings

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn
from torch.jit._trace import TracerWarning
from torch.nn.utils import parametrize

from paredown.evaluators.standard_output import output_to_stderr
from paredown.spaces.counting import plain_operators
from paredown.spaces.families.family import ImageShape
from paredown.spaces.transforms import DOMAIN_NOTE

OPSET = 17


def export(model: nn.Module, shape: ImageShape) -> bytes:
    """Return the network as an ONNX model: input `image`, `n x c x h x w`, output `logits`, `n x classes`.

    Batch normalisation is folded into the convolutions; the batch size is free.
    """
    return export_part(model, np.zeros((1, *shape), np.float32), ("logits",))


def export_part(model: nn.Module, example: NDArray[np.float32], outputs: tuple[str, ...]) -> bytes:
    """Return a network, or a part of one, as an ONNX model with the input `image` and a free batch size.

    Args:
        model: Module that returns a tensor for each output.
        example: One input, `1 x ...`.
        outputs: Names of the outputs.
    """
    device = next(model.parameters()).device
    buffer = io.BytesIO()
    exported = _with_plain_weights(model)
    with warnings.catch_warnings(), plain_operators(), output_to_stderr():
        # The TorchScript exporter is deprecated, and ten times as fast: docs/decisions/0002.
        warnings.simplefilter("ignore", DeprecationWarning)
        # It warns of each slice that it leaves to the runtime; the file is compared with the network anyway.
        warnings.filterwarnings("ignore", "Constant folding - Only steps=1", UserWarning)
        # Warnings of recurrent layers and of shapes in Python: rehearsal.py runs the file of a user's network on
        # several images and compares the outputs.
        warnings.filterwarnings("ignore", "Exporting a model to ONNX with a batch_size other than 1", UserWarning)
        warnings.simplefilter("ignore", TracerWarning)
        torch.onnx.export(
            exported.cpu().eval(),
            (torch.from_numpy(example),),
            buffer,  # type: ignore[arg-type]  # a file object works and leaves no file
            input_names=["image"],
            output_names=list(outputs),
            dynamic_axes={name: {0: "batch"} for name in ("image", *outputs)},
            opset_version=OPSET,
            dynamo=False,
        )
    model.to(device)
    return buffer.getvalue()


def _with_plain_weights(model: nn.Module) -> nn.Module:
    """Return the network with every computed weight (weight or spectral normalisation) replaced by its value."""
    if not any(parametrize.is_parametrized(module) for module in model.modules()):
        return model
    plain = copy.deepcopy(model).eval()
    for module in [m for m in plain.modules() if parametrize.is_parametrized(m)]:
        computed = {name: getattr(module, name).detach() for name in module._modules["parametrizations"]._modules}  # type: ignore[union-attr]
        # remove_parametrizations is no option: it changes the class, which a copy shares with the network itself.
        module.__class__ = type(module).__bases__[0]
        del module._modules["parametrizations"]
        for name, value in computed.items():
            module.register_parameter(name, nn.Parameter(value))
    return plain


def slimmed(model: bytes) -> bytes:
    """Return the same ONNX model with short names and without documentation strings.

    Names, shapes of intermediate values and notes are a third of the file of a small int8 network; no runtime needs
    them. Inputs and outputs of the model keep their names; weights keep the note of the domain in which they are
    sparse. Negative zeros, which a mask leaves of negative weights, become zeros, so that they are stored as such.
    """
    proto = onnx.load_from_string(model)
    graph = proto.graph
    if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for n in graph.node for a in n.attribute):
        return model  # nested graphs see outer names
    del graph.value_info[:]
    del proto.metadata_props[:]
    short = {"": ""} | {value.name: value.name for value in (*graph.input, *graph.output)}
    for tensor in graph.initializer:
        _make_zeros_positive(tensor)
        tensor.name = short.setdefault(tensor.name, f"{len(short):x}")
        if not tensor.doc_string.startswith(DOMAIN_NOTE):
            tensor.doc_string = ""
    for node in graph.node:
        node.name = node.doc_string = ""
        del node.metadata_props[:]
        node.input[:] = [short.setdefault(name, f"{len(short):x}") for name in node.input]
        node.output[:] = [short.setdefault(name, f"{len(short):x}") for name in node.output]
    return bytes(proto.SerializeToString())


def _make_zeros_positive(tensor: onnx.TensorProto) -> None:
    if tensor.data_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16):
        return
    values = onnx.numpy_helper.to_array(tensor)
    if (np.signbit(values) & (values == 0)).any():
        note = tensor.doc_string
        tensor.CopyFrom(onnx.numpy_helper.from_array(values + values.dtype.type(0), tensor.name))
        tensor.doc_string = note
