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

BITS = {
    **{TensorProto.FLOAT: 32, TensorProto.DOUBLE: 64, TensorProto.FLOAT16: 16, TensorProto.BFLOAT16: 16},
    **{TensorProto.INT8: 8, TensorProto.UINT8: 8, TensorProto.BOOL: 8, TensorProto.INT32: 32, TensorProto.INT64: 64},
    **{TensorProto.INT16: 16, TensorProto.UINT16: 16, TensorProto.INT4: 4, TensorProto.UINT4: 4},
}
FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16})
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
PACKED = {TensorProto.FLOAT: "<f", TensorProto.INT8: "<b", TensorProto.UINT8: "<B"}
"""How scales and zero points are stored."""
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
        return next((t for t in map(self.tensors.__getitem__, operator.constants) if len(t.shape) > 1), None)


def read_graph(model: Path | bytes, batch_size: int = 1) -> Graph:
    """Return what an ONNX model computes for a number of images.

    Args:
        model: ONNX, or the path of its file.
        batch_size: Images, where the file leaves their number open.

    Raises:
        EvaluationError: It is no ONNX model.
    """
    try:
        proto = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(model)
        for value in proto.graph.input:
            for size in value.type.tensor_type.shape.dim:
                if size.dim_param:
                    size.dim_value = batch_size
        for output in proto.graph.output:
            output.type.tensor_type.ClearField("shape")
        widths = {
            t.name: _width(t) for t in proto.graph.initializer if t.data_type == TensorProto.INT8 and len(t.dims) > 1
        }
        for tensor in proto.graph.initializer:
            if math.prod(tensor.dims) > SMALL:  # shape inference copies the model, and needs no weights
                tensor.ClearField("raw_data")
        proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
        if sort_nodes(proto.graph):
            proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except (OSError, DecodeError, onnx.onnx_cpp2py_export.shape_inference.InferenceError) as error:
        raise EvaluationError(f"{model if isinstance(model, Path) else 'model'}: is no ONNX model: {error}") from error
    return _Reader(proto.graph, {}, set(), widths).graph()


def sort_nodes(graph: Any) -> bool:
    """Bring the nodes of an ONNX graph into an order in which they can run; converters append some at the end.

    Returns:
        Whether they were in another one.

    Raises:
        EvaluationError: Some nodes wait for each other.
    """
    nodes = [(tuple(node.input), tuple(node.output)) for node in graph.node]
    written = {name for _, outputs in nodes for name in outputs if name}  # what a node omits has an empty name
    waiting, done, ordered = nodes, set[str](), list[tuple[str, ...]]()
    while waiting:
        later = []
        for inputs, outputs in waiting:
            if all(name in done or name not in written for name in inputs):
                ordered.append(outputs)
                done.update(outputs)
            else:
                later.append((inputs, outputs))
        if not later and len(waiting) == len(nodes):
            return False
        if len(later) == len(waiting):
            raise EvaluationError("the model's operators wait for each other")
        waiting = later
    places = {outputs: at for at, outputs in enumerate(ordered)}
    graph.node.sort(key=lambda node: places[tuple(node.output)])
    return True


class _Reader:
    """Reads one graph, with what the graphs around it define."""

    def __init__(
        self, graph: Any, outer: Mapping[str, Tensor], outer_constants: set[str], widths: Mapping[str, int]
    ) -> None:
        self._graph, self._widths = graph, widths
        self.tensors: dict[str, Tensor] = dict(outer)
        self.constants = set(outer_constants)
        self._same: dict[str, str] = {}
        self._names: set[str] = set()
        self._entries = {value.name for value in graph.input}
        self._exits = {value.name for value in graph.output}
        self._scalars = {t.name: t for t in graph.initializer if not t.dims}
        self._grids: dict[tuple[str, ...], tuple[float, int] | None] = {}

    def graph(self) -> Graph:
        """Return the graph."""
        for tensor in self._graph.initializer:
            width = self._widths.get(tensor.name, 0)
            self.tensors[tensor.name] = _tensor(tuple(tensor.dims), tensor.data_type, width)
            self.constants.add(tensor.name)
        for values in (self._graph.input, self._graph.value_info, self._graph.output):
            for value in values:
                kind = value.type.tensor_type
                self.tensors[value.name] = _tensor(tuple([d.dim_value or 1 for d in kind.shape.dim]), kind.elem_type)
        self._names = set(self._entries)
        operators = tuple(filter(None, map(self._operator, self._graph.node)))
        inputs = tuple(value.name for value in self._graph.input if value.name not in self.constants)
        outputs = tuple(self._same.get(value.name, value.name) for value in self._graph.output)
        return Graph(operators, self.tensors, inputs, outputs)

    def _operator(self, node: Any) -> Operator | None:
        kind, outputs, same, constants = node.op_type, tuple(node.output), self._same, self.constants
        names = [same.get(name, name) for name in node.input if name]
        if kind == "Constant" or (names and constants.issuperset(names) and kind != "If"):
            self._keep_constant(outputs, names)
            return None
        if kind in (QUANTIZE, DEQUANTIZE):
            stored = self.tensors[names[0]]
            integers = Tensor(stored.shape, 8, False, grid=self._grid(*names[1:3]))
            if kind == QUANTIZE and names[0] in self._entries:
                self.tensors[outputs[0]] = integers
            elif outputs[0] not in self._exits:
                same[outputs[0]] = names[0]
                self.tensors[names[0]] = integers
                return None
        attributes = {a.name: _value(a) for a in node.attribute}
        branches = tuple(
            _Reader(attributes.pop(key), self.tensors, self.constants, self._widths).graph()
            for key in ("then_branch", "else_branch")
            if key in attributes
        )
        for name in outputs:
            self.tensors.setdefault(name, Tensor())
        self._names.update(outputs)
        weights = [at for at, n in enumerate(names) if n in constants and len(self.tensors[n].shape) > 1]
        seen = {name for branch in branches for o in branch.operators for name in o.inputs} & self._names
        reads = [*(name for name in names if name not in constants), *sorted(seen)]
        return Operator(
            kind,
            node.name,
            tuple(dict.fromkeys(reads)),
            tuple(filter(None, outputs)),
            tuple(name for name in names if name in constants),
            attributes,
            branches,
            weights[0] if weights else -1,
        )

    def _grid(self, *ends: str) -> tuple[float, int] | None:
        """Return the scale and the zero point of a conversion by their names."""
        if ends not in self._grids:
            found = [_scalar(self._scalars[name]) for name in ends if name in self._scalars]
            self._grids[ends] = (float(found[0]), int(found[1])) if len(found) == 2 else None
        return self._grids[ends]

    def _keep_constant(self, outputs: Sequence[str], names: Sequence[str]) -> None:
        """Note the outputs of a node whose inputs are all constants; a weight keeps the bits that are stored."""
        stored = self.tensors[names[0]] if names else Tensor()
        for name in outputs:
            known = self.tensors.get(name, Tensor(stored.shape))
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
