"""The int8 arithmetic that a quantised ONNX file describes: operators on integer tensors, without Q/DQ nodes.

ONNX Runtime's quantizer puts each tensor on its grid with QuantizeLinear and takes it off with DequantizeLinear; what
stands between is an operator in float32. An operator whose inputs come off a grid and whose output goes onto one is an
operator on integers, and nothing else is allowed here.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, shape_inference

from paredown.spaces.errors import InfeasibleCandidate

UINT8_SHIFT = 128
"""Difference of a zero point in uint8 and the same zero point in int8."""
SIXTH, SLACK = 1 / 6, 1e-6
"""Slope of the hard sigmoid of a hard swish, and how far from it one may be."""
FUSED = ("Relu", "Clip")
"""Operators that may follow another one in float32: they bound its output."""
ALLOWED = (
    "allowed: quantization.weights int8 or mixed with activations uint8, no layer left in float32, and operators that "
    "ONNX Runtime quantises"
)
STRUCTURE = ("QuantizeLinear", "DequantizeLinear", "Constant")
"""Operators that say on which grid a tensor is, or hold one."""
PASSED = ("Identity", "Dropout")
"""Operators that do nothing in a file for inference."""


class NoIntegerFile(InfeasibleCandidate):
    """A model cannot be written as int8 TensorFlow Lite; the message says which operator and why."""


@dataclass(frozen=True)
class Grid:
    """The values that an int8 tensor stands for: `scale * (integer - zero_point)`.

    Attributes:
        scale: Distance of two neighbours.
        zero_point: Integer that stands for 0, from -128 to 127.
    """

    scale: float
    zero_point: int


@dataclass(frozen=True)
class Constant:
    """Integers of the file: weights or biases with one scale or one a channel, or an operand on a grid.

    Attributes:
        integers: The values.
        scales: One scale, or one for each index of `axis`.
        axis: Axis of the scales.
        zero_point: Integer that stands for 0; 0 for weights and biases.
    """

    integers: NDArray[Any]
    scales: NDArray[np.float32]
    axis: int = 0
    zero_point: int = 0


@dataclass(frozen=True, eq=False)
class Value:
    """An int8 tensor that the model takes or an operation makes.

    Attributes:
        name: Name of the integers in the ONNX file.
        shape: Its shape in ONNX, `1 x c x h x w` for images.
        grid: Its grid.
        made_by: The operation; None for the model's input.
    """

    name: str
    shape: tuple[int, ...]
    grid: Grid
    made_by: "Operation | None" = None


@dataclass(frozen=True, eq=False)
class Operation:
    """An operator on integers.

    Attributes:
        kind: Its type in ONNX; `Requantize` where a tensor goes from one grid to another.
        name: How messages call it.
        inputs: What it takes.
        shape: Shape of its output in ONNX.
        attributes: Its attributes in ONNX.
        parameters: Further inputs that are no tensors of the network, such as the axes of a slice; None where left out.
        bounds: Least and largest real value of its output, by an activation that follows.
    """

    kind: str
    name: str
    inputs: tuple[Value | Constant, ...]
    shape: tuple[int, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    parameters: tuple[NDArray[Any] | None, ...] = ()
    bounds: tuple[float, float] = (-np.inf, np.inf)

    @property
    def folded(self) -> "Operation":
        """The same as HardSwish where it is the product of x and its hard sigmoid, which need not be computed then."""
        if self.kind == "Mul" and len(self.inputs) == 2 and self.bounds == (-np.inf, np.inf):
            for x, gate in (self.inputs, self.inputs[::-1]):
                made = gate.made_by if isinstance(gate, Value) else None
                if made is None or made.kind != "HardSigmoid" or made.inputs != (x,):
                    continue
                if abs(made.attributes.get("alpha", 0.2) - SIXTH) < SLACK:
                    return replace(self, kind="HardSwish", inputs=(x,))
        return self

    def refused(self, reason: str) -> NoIntegerFile:
        """Return the error that this operation cannot be written; the caller raises it."""
        return NoIntegerFile(f"no int8 TensorFlow Lite file: {self.name}: {reason}")


@dataclass(frozen=True)
class IntegerGraph:
    """A model on integers.

    Attributes:
        input: What it takes.
        output: What it gives.
    """

    input: Value
    output: Value

    def operations(self) -> Iterator[tuple[Operation, Value]]:
        """Yield each operation that the output needs with what it makes, its inputs before it, depth first.

        Depth first keeps few tensors alive at a time.
        """
        done: set[int] = set()
        waiting = [(self.output, False)]
        while waiting:
            value, has_inputs = waiting.pop()
            operation = value.made_by
            if operation is None or id(value) in done:
                continue
            if has_inputs:
                done.add(id(value))
                yield operation, value
                continue
            waiting.append((value, True))
            waiting += [(one, False) for one in reversed(operation.inputs) if isinstance(one, Value)]


def read_integer_graph(model: bytes, known: Collection[str]) -> IntegerGraph:
    """Return the integer arithmetic of an int8 ONNX file.

    Args:
        model: ONNX.
        known: Types of operators that have a counterpart.

    Raises:
        NoIntegerFile: A part of it is not int8 or has no counterpart, or it is a network with exits.
    """
    proto = onnx.load_from_string(model)
    _check_known(proto.graph, known)
    del proto.graph.value_info[:]  # shapes of batches of any size, where quantization has left them
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return _Reader(shape_inference.infer_shapes(proto).graph).read()


def _check_known(graph: onnx.GraphProto, known: Collection[str]) -> None:
    """Refuse operators without a counterpart, all at once."""
    kinds = [node.op_type for node in graph.node]
    if "If" in kinds:
        raise NoIntegerFile("no int8 TensorFlow Lite file: a network with early exits needs an If")
    if "QuantizeLinear" not in kinds:
        raise NoIntegerFile(f"no int8 TensorFlow Lite file: the file computes in float32; {ALLOWED}")
    unknown = [kind for kind in dict.fromkeys(kinds) if kind not in {*known, *STRUCTURE, *PASSED}]
    if unknown:
        named = [f"{kind} (node {kinds.index(kind)} of the ONNX file)" for kind in unknown]
        raise NoIntegerFile(f"no int8 TensorFlow Lite file: no counterpart of {', '.join(named)}")


class _Reader:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._shapes = {
            value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            for value in (*graph.input, *graph.output, *graph.value_info)
        }
        self._arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._integers: dict[str, Value] = {}
        self._real: dict[str, Value | Constant] = {}
        self._pending: dict[str, Operation] = {}
        self._made: dict[str, Value] = {}

    def read(self) -> IntegerGraph:
        for at, node in enumerate(self._graph.node):
            if node.op_type == "QuantizeLinear":
                self._integers[node.output[0]] = self._on_grid(node)
            elif node.op_type == "DequantizeLinear":
                self._real[node.output[0]] = self._off_grid(node)
            elif node.op_type == "Constant":
                self._arrays[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            elif node.op_type in PASSED:
                self._pass_on(node)
            else:
                self._pending[node.output[0]] = self._operation(node, at)
        (given,), output = self._graph.input, self._real.get(self._graph.output[0].name)
        if given.name not in self._made or not isinstance(output, Value):
            raise NoIntegerFile(f"no int8 TensorFlow Lite file: the file's input or output is float32; {ALLOWED}")
        return IntegerGraph(self._made[given.name], output)

    def _on_grid(self, node: onnx.NodeProto) -> Value:
        """Return the integer tensor that a float tensor becomes; the first grid is where its operation puts it."""
        name, grid = node.input[0], self._grid(node)
        before = self._real.get(name, self._made.get(name))
        if isinstance(before, Constant):
            raise NoIntegerFile("no int8 TensorFlow Lite file: a constant goes onto a second grid")
        if before is not None:
            if before.grid == grid:
                return before
            operation = Operation("Requantize", "QuantizeLinear", (before,), before.shape)
            return Value(node.output[0], before.shape, grid, operation)
        if name in self._pending:
            made = Value(node.output[0], self._pending[name].shape, grid, self._pending[name].folded)
        elif name == self._graph.input[0].name:
            made = Value(node.output[0], self._shapes[name], grid)
        else:
            raise NoIntegerFile(f"no int8 TensorFlow Lite file: {name} is quantised before it is computed")
        self._made[name] = made
        return made

    def _grid(self, node: onnx.NodeProto) -> Grid:
        scale, zero_point = (self._arrays[name] for name in node.input[1:3])
        shift = UINT8_SHIFT if zero_point.dtype == np.uint8 else 0
        if zero_point.dtype not in (np.uint8, np.int8) or scale.size != 1:
            raise NoIntegerFile(f"no int8 TensorFlow Lite file: activations of {zero_point.dtype}; allowed: uint8")
        return Grid(float(scale.ravel()[0]), int(zero_point.ravel()[0]) - shift)

    def _off_grid(self, node: onnx.NodeProto) -> Value | Constant:
        name = node.input[0]
        if name in self._integers:
            return self._integers[name]
        integers, scales = self._arrays[name], self._arrays[node.input[1]].astype(np.float32).reshape(-1)
        zero_points = self._arrays[node.input[2]].reshape(-1) if len(node.input) > 2 else np.zeros(1, np.int8)
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        axis += integers.ndim if axis < 0 else 0
        if integers.dtype == np.uint8:
            integers, zero_points = (v.astype(np.int16) - UINT8_SHIFT for v in (integers, zero_points))
            integers = integers.astype(np.int8)
        return Constant(integers, scales, axis if scales.size > 1 else 0, int(zero_points[0]))

    def _pass_on(self, node: onnx.NodeProto) -> None:
        source, target = node.input[0], node.output[0]
        for known in (self._real, self._pending):
            if source in known:
                known[target] = known[source]  # type: ignore[assignment]  # one table at a time
        if source in self._arrays:
            self._arrays[target] = self._arrays[source]

    def _operation(self, node: onnx.NodeProto, at: int) -> Operation:
        name = node.op_type + (f" {node.name}" if node.name else f" (node {at} of the ONNX file)")
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        before = self._pending.get(node.input[0])
        if node.op_type in FUSED and before is not None and node.input[0] not in self._made:
            return self._bounded(before, node)
        operation = Operation(node.op_type, name, (), self._shapes.get(node.output[0], ()), attributes)
        if len(node.output) > 1 and any(node.output[1:]):
            raise operation.refused("more than one output")
        inputs, parameters = [], []
        for source in node.input:
            if source in self._real:
                inputs.append(self._real[source])
            elif source in self._arrays or not source:
                parameters.append(self._arrays.get(source))
            else:
                raise self._pending.get(source, operation).refused(f"it computes in float32; {ALLOWED}")
        bounds = self._bounds(node) if node.op_type in FUSED else operation.bounds
        return replace(operation, inputs=tuple(inputs), parameters=tuple(parameters), bounds=bounds)

    def _bounded(self, before: Operation, node: onnx.NodeProto) -> Operation:
        (low, high), (least, largest) = before.bounds, self._bounds(node)
        return replace(before, bounds=(max(low, least), min(high, largest)))

    def _bounds(self, node: onnx.NodeProto) -> tuple[float, float]:
        if node.op_type == "Relu":
            return 0.0, np.inf
        given = [self._arrays[name].item() if name else None for name in node.input[1:3]]
        low, high = (*given, None, None)[:2]
        return -np.inf if low is None else float(low), np.inf if high is None else float(high)
