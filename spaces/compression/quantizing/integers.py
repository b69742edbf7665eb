"""Weights as integers and one scale a channel, with activations as integers too or without.

With activations in 8 bits ONNX Runtime computes in integers; the narrower widths are int8 tensors whose values fit
the width, so they cost nothing in speed, and a packed file stores the few bits. Without, weights alone shrink, and
the arithmetic stays float32.

Source:
    Jacob et al., CVPR 2018, section 2; ONNX Runtime, Quantize ONNX Models, static quantization.
"""

import copy
import logging
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from paredown.spaces.compression.node_names import excluded_nodes
from paredown.spaces.compression.quantizing.grid import WIDEST, largest, on_grid, scales
from paredown.spaces.compression.quantizing.ranges import activation_ranges
from paredown.spaces.compression.quantizing.widths import width
from paredown.spaces.compression.step import Part
from paredown.spaces.compression.target import Target
from paredown.spaces.knob import Knobs

INT8_END = largest(WIDEST)
SIGMOID_RANGE = {"rmin": np.array(0, np.float32), "rmax": np.array(255 / 256, np.float32)}
"""Ends of the grid of every sigmoid, in steps of 1/256: the one grid that TensorFlow Lite has for it, so that a file
for a microcontroller computes with the same integers."""
RECURRENT = ("LSTM", "GRU", "RNN")
OTHER_WEIGHTS = (*RECURRENT, "Einsum", "MatMul", "Gemm", "Conv", "Gather")
"""Operators that may hold weights beside those that are treated."""
VECTOR = re.compile(r"out-of-range for weight .* with rank 1$")


@dataclass(frozen=True)
class Layer:
    """A convolution or a product with constant weights.

    Attributes:
        nodes: Names of the nodes that share the weight.
        weight: Name of the initializer.
        axis: Axis of the output channels.
        bits: Bits of its weights.
    """

    nodes: tuple[str, ...]
    weight: str
    axis: int
    bits: int


class IntegerModel:
    """A float32 model and what it takes to write it with some of its layers in integers."""

    def __init__(
        self,
        model: bytes,
        knobs: Knobs,
        images: NDArray[np.float32],
        calibration: str,
        target: Target,
        part: Part | None = None,
        excluded: Sequence[str] = (),
    ) -> None:
        """Prepare the model: fuse, infer shapes, measure activations where they are quantised.

        Args:
            model: ONNX.
            knobs: Of the step.
            images: To calibrate with, `n x c x h x w`.
            calibration: A method of `ranges.METHODS`.
            target: The device that the file is made for.
            part: Where the model stands in a network with exits; None where it is the whole one.
            excluded: Names of layers that stay float32, with `*`, `?` and `[...]`.
        """
        proto = onnx.load_from_string(model)
        for at, node in enumerate(proto.graph.node):
            node.name = node.name or f"{node.op_type}_{at}"
        _set_apart(proto.graph)
        places = {node.name: at for at, node in enumerate(proto.graph.node)}
        self._whole = knobs.get("activations", "uint8") == "uint8"
        with tempfile.TemporaryDirectory(prefix="paredown-") as folder, _without_advice():
            self._model = _prepared(proto, Path(folder))
            self._excluded = excluded_nodes(self._model.graph, excluded)
            layers = _layers(
                self._model.graph,
                places,
                lambda at, count: width(at, count, knobs, target),
                part,
                recurrent=not self._whole,
            )
            self.layers = tuple(layer for layer in layers if not self._excluded.keys() & set(layer.nodes))
            self._ranges = (
                activation_ranges(Path(folder, "prepared.onnx"), _operators(), images, calibration)
                if self._whole and self.layers
                else None
            )

    @property
    def untreated(self) -> dict[str, str]:
        """Operators whose weights have no width of their own to the reason; positions and scales are none."""
        treated = {name for layer in self.layers for name in layer.nodes}
        matrices = {t.name for t in self._model.graph.initializer if sum(size > 1 for size in t.dims) > 1}
        found = {}
        for node in self._model.graph.node:
            if pattern := self._excluded.get(node.name) if matrices & set(node.input) else None:
                found[node.name] = f"the user keeps {pattern!r} as it is"
            elif node.op_type == "ConvTranspose":
                found[node.name] = "transposed convolution: " + ("8 bits" if self._whole else "float32")
            elif node.name not in treated and node.op_type in OTHER_WEIGHTS and matrices & set(node.input):
                found[node.name] = f"{node.op_type}: its weights stay float32"
        return found

    def written(self, floating: Collection[Layer] = (), only: Layer | None = None) -> bytes:
        """Return the ONNX model.

        Args:
            floating: Layers that stay float32.
            only: The one layer that does not; None: all but `floating`.
        """
        chosen = [only] if only else [layer for layer in self.layers if layer not in floating]
        return self._static(chosen, only) if self._whole else self._weights_alone(chosen)

    def _static(self, chosen: list[Layer], only: Layer | None) -> bytes:
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        model = copy.deepcopy(self._model)
        overrides = {node.output[0]: [SIGMOID_RANGE] for node in model.graph.node if node.op_type == "Sigmoid"}
        floating = [name for layer in self.layers if layer not in chosen for name in layer.nodes]
        tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        for layer in chosen:
            if layer.bits < WIDEST:
                overrides[layer.weight] = _onto_grid(tensors[layer.weight], layer)
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=self._ranges,
            nodes_to_quantize=list(only.nodes) if only else [],
            nodes_to_exclude=[] if only else [*self._excluded, *floating],
            op_types_to_quantize=_operators(),
            extra_options={"TensorQuantOverrides": overrides},
        )
        with _without_advice():
            quantizer.quantize_model()
            quantizer.model.topological_sort()
        return bytes(quantizer.model.model.SerializeToString())

    def _weights_alone(self, chosen: list[Layer]) -> bytes:
        """Return int8 weights behind Cast and Mul, which ONNX Runtime computes once, when it loads the model.

        DequantizeLinear it would keep and run each time: 3 to 8 times slower than float32 (benchmarks/int8.py).
        """
        model = copy.deepcopy(self._model)
        tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        nodes = []
        for layer in chosen:
            tensor = tensors[layer.weight]
            rows, back = _rows(numpy_helper.to_array(tensor), layer.axis)
            scale = scales(rows, layer.bits)
            end = largest(layer.bits)
            integers = (rows.flatten(1) / scale[:, None]).round().clamp(-end, end).view_as(rows)
            tensor.CopyFrom(numpy_helper.from_array(back(integers).astype(np.int8), f"{layer.weight}_quantized"))
            shape = [-1 if axis == layer.axis else 1 for axis in range(rows.dim())]
            factor = numpy_helper.from_array(scale.numpy().reshape(shape), f"{layer.weight}_scale")
            model.graph.initializer.append(factor)
            nodes += [
                helper.make_node("Cast", [tensor.name], [f"{layer.weight}_cast"], to=onnx.TensorProto.FLOAT),
                helper.make_node("Mul", [f"{layer.weight}_cast", factor.name], [layer.weight]),
            ]
        rest = list(model.graph.node)
        del model.graph.node[:]
        model.graph.node.extend([*nodes, *rest])
        return bytes(model.SerializeToString())


def _set_apart(graph: onnx.GraphProto) -> None:
    """Rename values between nodes, so that none is called like a bias with a number behind it.

    That is how ONNX Runtime calls the copies of a bias that several layers share, as in an untrained network.
    """
    if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for n in graph.node for a in n.attribute):
        return  # nested graphs see outer names
    kept = {value.name for value in graph.output}
    renamed = {name: f"{name}_" for node in graph.node for name in node.output if name and name not in kept}
    for value in graph.value_info:
        value.name = renamed.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]


def _prepared(proto: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
    from onnxruntime.quantization.shape_inference import quant_pre_process

    try:
        quant_pre_process(copy.deepcopy(proto), folder / "prepared.onnx")
    except Exception:  # symbolic shapes of what it does not know, such as nn.MultiheadAttention: bare assertions
        quant_pre_process(proto, folder / "prepared.onnx", skip_symbolic_shape=True)
    return load_model_with_shape_infer(folder / "prepared.onnx")


def _operators() -> list[str]:
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return sorted({*QLinearOpsRegistry, *QDQRegistry})


def _layers(
    graph: onnx.GraphProto,
    places: Mapping[str, int],
    bits: Callable[[int, int], int],
    part: Part | None,
    recurrent: bool,
) -> tuple[Layer, ...]:
    """Return the layers in the order in which they run; preparing the model has changed that of the nodes."""
    dims = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    sharing: dict[str, list[onnx.NodeProto]] = {}
    for node in sorted(graph.node, key=lambda node: places.get(node.name, len(places))):
        weights = list(node.input[1:2]) if node.op_type in ("Conv", "Gemm", "MatMul") else []
        weights += list(node.input[1:3]) if recurrent and node.op_type in RECURRENT else []
        for weight in weights:
            if dims.get(weight, 0) >= 2:
                sharing.setdefault(weight, []).append(node)
    before, layers = (0, len(sharing)) if part is None else (part.before, part.layers)
    return tuple(
        Layer(tuple(n.name for n in nodes), weight, _axis(nodes[0], dims[weight]), bits(before + at, layers))
        for at, (weight, nodes) in enumerate(sharing.items())
    )


def _axis(node: onnx.NodeProto, dims: int) -> int:
    if node.op_type == "MatMul":
        return dims - 1
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return 0 if node.op_type == "Conv" or transposed else 1


def _rows(weight: NDArray[np.float32], axis: int) -> tuple[torch.Tensor, Callable[[torch.Tensor], NDArray[np.float32]]]:
    """Return the weight with its output channels first, and what undoes that."""
    rows = torch.from_numpy(np.moveaxis(weight, axis, 0).copy())
    return rows, lambda tensor: np.ascontiguousarray(np.moveaxis(tensor.numpy(), 0, axis))


def _onto_grid(tensor: onnx.TensorProto, layer: Layer) -> list[dict[str, Any]]:
    """Put the weights on the grid of their width and return the ranges at which int8 has the same scales."""
    rows, back = _rows(numpy_helper.to_array(tensor), layer.axis)
    ends = scales(rows, layer.bits) * INT8_END
    tensor.CopyFrom(numpy_helper.from_array(back(on_grid(rows, layer.bits)), tensor.name))
    return [{"axis": layer.axis, "rmin": np.float32(-end), "rmax": np.float32(end)} for end in ends.tolist()]


@contextmanager
def _without_advice() -> Iterator[None]:
    logging.getLogger().addFilter(_is_not_advice)
    try:
        yield
    finally:
        logging.getLogger().removeFilter(_is_not_advice)


def _is_not_advice(record: logging.LogRecord) -> bool:
    """Tell real warnings from the quantizer's advice.

    That is to pre-process, given even after it was taken, and that a vector gets one scale: the weights of a
    normalisation that no layer could take up.
    """
    said = record.getMessage()
    return "pre-processing before quantization" not in said and not VECTOR.search(said)
