"""How ONNX Runtime executes a network of integers: channels last, and between conversions where it has no kernel.

Source:
    ONNX Runtime 1.32, core/optimizer (qdq_transformer, nhwc_transformer.cc, transpose_optimization).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from paredown.evaluators.files.onnx_graph import Graph
from paredown.evaluators.latency.runtime_node import RuntimeNode, readers_of

INTEGER_KERNELS = frozenset(
    {"Conv", "Add", "Mul", "Sigmoid", "LeakyRelu", "Softmax", "GlobalAveragePool", "AveragePool", "Concat", "MatMul"}
) | {"Gemm"}
MOVES = frozenset(
    {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Split", "Gather", "Slice", "MaxPool"}
) | {
    "Identity",
    "QuantizeLinear",
    "DequantizeLinear",
}
"""Operators that run on any number format."""
CHANNELS_FIRST = frozenset({"Gather", "BatchNormalization", "Reshape", "Flatten", "Squeeze", "Transpose", "Slice"}) | {
    "Shape"
}
"""Operators before which a tensor that was channels last is transposed back."""
UNMOVED = frozenset({"Flatten"})
"""Operators on integers of which the optimizer of transposes knows nothing: what they read is transposed anyway."""


@dataclass
class _Integers:
    """The nodes so far, and how tensors are laid out."""

    graph: Graph
    readers: dict[str, list[RuntimeNode]]
    leading: set[int]
    nodes: list[RuntimeNode] = field(default_factory=list)
    last: set[str] = field(default_factory=set)
    transposed: set[str] = field(default_factory=set)

    def lay_out(self, node: RuntimeNode) -> bool:
        """Add the transposes that a node needs, and return whether it runs channels last."""
        in_last = [name for name in node.inputs if name in self.last]
        is_last = node.kind == "Conv" or bool(in_last and self._stays_last(node))
        self._transpose(name for name in node.inputs if (name in self.last) != is_last)
        if is_last:
            self.last.update(node.outputs)
        return is_last

    def _stays_last(self, node: RuntimeNode) -> bool:
        """Return whether the transpose after a convolution moves behind a node: where that makes transposes cheaper."""
        if node.kind in CHANNELS_FIRST:
            return False
        if node.kind == "MaxPool":
            return True
        cost = sum(self._cost(name) for name in node.inputs)
        behind = 0 if id(node) in self.leading else max(map(self._rank, node.outputs))
        return cost < 0 and cost + behind < 0

    def _cost(self, name: str) -> int:
        """Return what it costs that a node reads a tensor channels last; below 0 where a transpose is saved."""
        if name not in self.last:
            return self._rank(name)
        is_saved = not any(one.kind in UNMOVED for one in self.readers[name]) and name not in self.graph.outputs
        return -self._rank(name) if is_saved else 0

    def _rank(self, name: str) -> int:
        return sum(size != 1 for size in self.graph.tensors[name].shape)

    def _transpose(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.transposed:
                self.nodes.append(RuntimeNode("Transpose", (), (name,), (name,), channels_last=name in self.last))
                self.transposed.add(name)

    def compute(self, node: RuntimeNode) -> None:
        """Add a node, as one on integers or between conversions."""
        integers = [name for name in node.inputs if self._is_integer(name)]
        is_integer_out = all(map(self._is_integer, node.outputs))
        if is_integer_out and node.kind in MOVES and self._is_regridded(node):
            self._transpose_between(node.inputs)
            self._between(node, integers, is_float=True)
        elif node.kind in MOVES or (not integers and not is_integer_out):
            self.nodes.append(node)
        elif node.kind in INTEGER_KERNELS and is_integer_out and len(integers) == len(node.inputs):
            self.nodes.append(node._replace(kind="QGemm" if node.kind == "Gemm" else f"QLinear{node.kind}"))
        else:
            self._between(node, integers, is_quantized=is_integer_out)

    def _between(
        self, node: RuntimeNode, integers: Sequence[str], is_quantized: bool = True, is_float: bool = False
    ) -> None:
        """Add a node between conversions."""
        self.nodes += [RuntimeNode("DequantizeLinear", (), (name,), (name,)) for name in integers]
        self.nodes.append(node._replace(is_float=is_float))
        if is_quantized:
            self.nodes.append(RuntimeNode("QuantizeLinear", (), node.outputs, node.outputs))

    def _transpose_between(self, names: Sequence[str]) -> None:
        """Put a transpose that a node needed between conversions, since one of them has moved in front of it."""
        before = self.nodes[-1] if self.nodes else None
        if before and before.kind == "Transpose" and before.channels_last and before.inputs == tuple(names):
            transpose = self.nodes.pop()
            self._between(transpose._replace(channels_last=False), transpose.inputs, is_float=True)

    def _is_regridded(self, node: RuntimeNode) -> bool:
        """Return whether a node that only moves numbers has another grid after it than before it."""
        grids = {self.graph.tensors[name].grid for name in (*node.inputs, *node.outputs)}
        return len(grids - {None}) > 1

    def _is_integer(self, name: str) -> bool:
        tensor = self.graph.tensors[name]
        return tensor.bits == 8 and not tensor.is_float


def channels_last(graph: Graph, nodes: Sequence[RuntimeNode]) -> list[RuntimeNode]:
    """Return the nodes of a network of integers, with conversions and transposes."""
    readers = readers_of(nodes)
    state = _Integers(graph, readers, _leading(nodes, readers))
    for node in nodes:
        state.compute(node._replace(channels_last=state.lay_out(node)))
    return state.nodes


def _leading(nodes: Sequence[RuntimeNode], readers: dict[str, list[RuntimeNode]]) -> set[int]:
    """Return the identities of the nodes from which a convolution is reached with channels last."""
    found: set[int] = set()
    for node in reversed(nodes):
        later = [one for name in node.outputs for one in readers[name]]
        leads = any(one.kind == "Conv" or id(one) in found for one in later)
        if leads and (node.kind not in CHANNELS_FIRST or node.kind == "Gather"):
            found.add(id(node))
    return found
