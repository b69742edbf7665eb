"""An ONNX model as what it computes: operators and the tensors between them, integers seen through their scales.

Pairs of QuantizeLinear and DequantizeLinear say in which format a tensor is, and are no operators here, but where the
model begins and ends; neither is what yields a constant. Every tensor knows its shape for a number of images and the
bits of its elements.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.files.external_data import whole_model
from paredown.evaluators.files.node_order import Names, names_of, sort_nodes

BITS = {
    **{TensorProto.FLOAT: 32, TensorProto.DOUBLE: 64, TensorProto.FLOAT16: 16, TensorProto.BFLOAT16: 16},
    **{TensorProto.INT8: 8, TensorProto.UINT8: 8, TensorProto.BOOL: 8, TensorProto.INT32: 32, TensorProto.INT64: 64},
    **{TensorProto.INT16: 16, TensorProto.UINT16: 16, TensorProto.INT4: 4, TensorProto.UINT4: 4},
}
FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16})
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
PACKED = {TensorProto.FLOAT: "<f", TensorProto.INT8: "<b", TensorProto.UINT8: "<B"}
"""How scales and zero points are stored."""
BRANCHES = ("then_branch", "else_branch")
INTEGERS = onnx.AttributeProto.INTS
SMALL = 64
"""Number of elements up to which a constant may be a shape or an axis, whose values shape inference needs."""


@dataclass(frozen=True)
class Tensor:
    """A tensor between operators.

    Attributes:
        shape: Its shape; empty for a scalar, and where it cannot be told.
        bits: Bits of one element.
        is_float: Whether its elements are floating-point numbers.
        narrowest_bits: Bits that hold the values of a constant of integers; 0 for other tensors.
        grid: Scale and zero point of its integers; None where it has none, one for each channel, or none that is known.
    """

    shape: tuple[int, ...] = ()
    bits: int = 32
    is_float: bool = True
    narrowest_bits: int = 0
    grid: tuple[float, int] | None = None

    @property
    def grid_bits(self) -> int:
        """Bits of the grid on which its values lie: int8 tensors hold narrower weights too."""
        return self.narrowest_bits or self.bits

    @cached_property
    def elements(self) -> int:
        """Number of its elements."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes of all elements."""
        return -(-self.elements * self.bits // 8)


class Operator(NamedTuple):
    """An operator that computes.

    Attributes:
        kind: ONNX's name of it.
        name: Name of the node.
        inputs: Tensors that it reads, in order, without constants.
        outputs: Tensors that it writes.
        constants: Constants that it reads, in order, weights first where it has some.
        attributes: Its attributes.
        branches: Graphs of which it executes one.
        weight_at: Position of the first constant with at least two axes among all inputs; -1 where there is none.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = MappingProxyType({})
    branches: tuple["Graph", ...] = ()
    weight_at: int = -1


@dataclass(frozen=True)
class Graph:
    """Operators in the order in which the file lists them.

    Attributes:
        operators: The operators.
        tensors: All tensors by name, constants too.
        inputs: Names of the graph's inputs.
        outputs: Names of its outputs.
    """

    operators: tuple[Operator, ...]
    tensors: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def weight(self, operator: Operator) -> Tensor | None:
        """Return the first constant of an operator with at least two axes; None where it has none."""
        for name in operator.constants:
            tensor = self.tensors[name]
            if len(tensor.shape) > 1:
                return tensor
        return None


def read_graph(model: Path | bytes, batch_size: int = 1) -> Graph:
    """Return what an ONNX model computes for a number of images.

    Args:
        model: ONNX, or the path of its file.
        batch_size: Images, where the file leaves their number open.

    Raises:
        EvaluationError: It is no ONNX model, or it names other files.
    """
    try:
        proto = onnx.load_from_string(whole_model(model))
        for value in proto.graph.input:
            for size in value.type.tensor_type.shape.dim:
                if size.dim_param:
                    size.dim_value = batch_size
        for output in proto.graph.output:
            output.type.tensor_type.ClearField("shape")
        widths = dict[str, int]()
        for tensor in proto.graph.initializer:
            dims = tuple(tensor.dims)
            if tensor.data_type == TensorProto.INT8 and len(dims) > 1:
                widths[tensor.name] = _width(tensor)
            if math.prod(dims) > SMALL:  # shape inference copies the model, and needs no weights
                tensor.ClearField("raw_data")
        nodes = sort_nodes(proto.graph)
        proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except (OSError, DecodeError, onnx.onnx_cpp2py_export.shape_inference.InferenceError) as error:
        raise EvaluationError(f"{model if isinstance(model, Path) else 'model'}: is no ONNX model: {error}") from error
    return _Reader(proto.graph, widths).graph(nodes)


class _Reader:
    """Reads one graph, with what the graphs around it define."""

    def __init__(self, graph: Any, widths: Mapping[str, int], outer: "_Reader | None" = None) -> None:
        self._graph, self._widths = graph, widths
        self.tensors: dict[str, Tensor] = dict(outer.tensors) if outer else {}
        self.constants: set[str] = set(outer.constants) if outer else set()
        self._same: dict[str, str] = {}
        self._names: set[str] = set()
        self._entries = {value.name for value in graph.input}
        self._exits = {value.name for value in graph.output}
        self._values: dict[str, Any] = dict(outer._values) if outer else {}
        self._scalars: dict[str, Any] = {}
        self._grids: dict[tuple[str, ...], tuple[float, int] | None] = {}

    def graph(self, nodes: Sequence[Names]) -> Graph:
        """Return the graph, where its nodes read and write these."""
        for tensor in self._graph.initializer:
            name, dims = tensor.name, tuple(tensor.dims)
            self.tensors[name] = _tensor(dims, tensor.data_type, self._widths.get(name, 0))
            self.constants.add(name)
            if not dims:
                self._scalars[name] = tensor
        for values in (self._graph.input, self._graph.value_info, self._graph.output):
            self._values.update((value.name, value) for value in values)
        self._names = set(self._entries)
        operators = tuple(filter(None, map(self._operator, self._graph.node, nodes)))
        inputs = tuple(value.name for value in self._graph.input if value.name not in self.constants)
        outputs = tuple(self._same.get(value.name, value.name) for value in self._graph.output)
        for name in (*inputs, *outputs):
            self._tensor(name)
        return Graph(operators, self.tensors, inputs, outputs)

    def _operator(self, node: Any, reads_and_writes: Names) -> Operator | None:
        kind, (inputs, outputs), same, constants = node.op_type, reads_and_writes, self._same, self.constants
        names = [same.get(name, name) for name in inputs if name]
        if kind == "Constant" or (names and constants.issuperset(names) and kind != "If"):
            self._keep_constant(outputs, names)
            return None
        if kind in (QUANTIZE, DEQUANTIZE):
            integers = self._in_integers(*names[:3])
            if kind == QUANTIZE and names[0] in self._entries:
                self.tensors[outputs[0]] = integers
            elif outputs[0] not in self._exits:
                same[outputs[0]] = names[0]
                self.tensors[names[0]] = integers
                return None
        attributes = {a.name: _value(a) for a in node.attribute}
        branches = tuple(self._branch(attributes.pop(key)) for key in BRANCHES if key in attributes)
        for name in (*names, *outputs):
            self._tensor(name)
        self._names.update(outputs)
        own = [name for name in names if name in constants]
        weight = next((name for name in own if len(self.tensors[name].shape) > 1), "")
        seen = {name for branch in branches for o in branch.operators for name in o.inputs} & self._names
        reads = [*(name for name in names if name not in constants), *sorted(seen)]
        return Operator(
            kind,
            node.name,
            tuple(dict.fromkeys(reads)),
            tuple(filter(None, outputs)),
            tuple(own),
            attributes,
            branches,
            names.index(weight) if weight else -1,
        )

    def _branch(self, graph: Any) -> Graph:
        return _Reader(graph, self._widths, self).graph(names_of(graph))

    def _in_integers(self, name: str, *ends: str) -> Tensor:
        """Return a tensor as a conversion with a scale and a zero point sees it; each is seen by two of them."""
        if ends not in self._grids:
            found = [_scalar(self._scalars[name]) for name in ends if name in self._scalars]
            self._grids[ends] = (float(found[0]), int(found[1])) if len(found) == 2 else None
        stored, grid = self._tensor(name), self._grids[ends]
        is_same = stored.grid == grid and stored.bits == 8 and not (stored.is_float or stored.narrowest_bits)
        return stored if is_same else Tensor(stored.shape, 8, False, grid=grid)

    def _tensor(self, name: str) -> Tensor:
        """Return what is known of a tensor; most of those between conversions are never asked for."""
        found = self.tensors.get(name)
        if found is None:
            value = self._values.get(name)
            found = Tensor()
            if value is not None:
                kind = value.type.tensor_type
                found = _tensor(tuple([d.dim_value or 1 for d in kind.shape.dim]), kind.elem_type)
            self.tensors[name] = found
        return found

    def _keep_constant(self, outputs: Sequence[str], names: Sequence[str]) -> None:
        """Note the outputs of a node whose inputs are all constants; a weight keeps the bits that are stored."""
        stored = self._tensor(names[0]) if names else Tensor()
        for name in outputs:
            known = self._tensor(name) if name in self._values or name in self.tensors else Tensor(stored.shape)
            shape = known.shape or stored.shape
            is_float = stored.is_float and known.is_float
            self.tensors[name] = Tensor(shape, min(stored.bits, known.bits), is_float, stored.narrowest_bits)
            self.constants.add(name)


@lru_cache(maxsize=4096)
def _tensor(shape: tuple[int, ...], kind: int, narrowest_bits: int = 0) -> Tensor:
    return Tensor(shape, BITS.get(kind, 32), kind in FLOATS or not kind, narrowest_bits)


def _value(attribute: Any) -> Any:
    """Return the value of an attribute; the most frequent kind, which ONNX asks for last, at once."""
    return list(attribute.ints) if attribute.type == INTEGERS else onnx.helper.get_attribute_value(attribute)


def _scalar(tensor: Any) -> float:
    """Return the value of a tensor without axes; most are read without NumPy."""
    packed = PACKED.get(tensor.data_type)
    if packed and tensor.raw_data:
        return float(struct.unpack(packed, tensor.raw_data)[0])
    values = (tensor.float_data or tensor.int32_data) if packed else ()
    return float(values[0] if values else onnx.numpy_helper.to_array(tensor).item())


def _width(tensor: Any) -> int:
    """Return the bits of the narrowest signed grid that holds a tensor's values."""
    values = onnx.numpy_helper.to_array(tensor)
    largest = max(-int(values.min(initial=0)), int(values.max(initial=1)))
    return 1 + math.ceil(math.log2(largest + 1))
