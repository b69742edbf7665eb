"""How ONNX Runtime executes a network of integers: channels last, and between conversions where it has no kernel.

Source:
    ONNX Runtime 1.32, core/optimizer (qdq_transformer, nhwc_transformer.cc, transpose_optimization).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

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


@dataclass
class _Integers:
    """The nodes so far, and how tensors are laid out."""

    graph: Graph
    readers: dict[str, list[RuntimeNode]]
    leading: set[int]
    nodes: list[RuntimeNode] = field(default_factory=list)
    last: set[str] = field(default_factory=set)
    transposed: set[str] = field(default_factory=set)

    def lay_out(self, node: RuntimeNode) -> None:
        """Add the transposes that a node needs, and note how its outputs are laid out."""
        is_convolution = node.kind == "Conv"
        in_last = [name for name in node.inputs if name in self.last]
        if is_convolution:
            self._transpose(name for name in node.inputs if name not in self.last)
        elif not self._stays_last(node, in_last):
            self._transpose(in_last)
            return
        if is_convolution or in_last:
            self.last.update(node.outputs)

    def _stays_last(self, node: RuntimeNode, in_last: Sequence[str]) -> bool:
        """Return whether a node runs channels last: on the way to a convolution, or where no other transposes."""
        if node.kind in CHANNELS_FIRST:
            return False
        return id(node) in self.leading or all(len(self._ends(name)) == 1 for name in in_last)

    def _ends(self, name: str) -> list[RuntimeNode]:
        """Return the nodes that read a tensor and are not on the way to a convolution."""
        return [one for one in self.readers[name] if one.kind != "Conv" and id(one) not in self.leading]

    def _transpose(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.transposed:
                self.nodes.append(RuntimeNode("Transpose", (), (name,), (name,), channels_last=name in self.last))
                self.transposed.add(name)

    def compute(self, node: RuntimeNode) -> None:
        """Add a node, as one on integers or between conversions."""
        if node.kind == "Conv" or any(name in self.last for name in node.inputs):
            node = replace(node, channels_last=True)
        integers = [name for name in node.inputs if self._is_integer(name)]
        is_integer_out = all(map(self._is_integer, node.outputs))
        if node.kind in MOVES or (not integers and not is_integer_out):
            self.nodes.append(node)
        elif node.kind in INTEGER_KERNELS and is_integer_out and len(integers) == len(node.inputs):
            self.nodes.append(replace(node, kind="QGemm" if node.kind == "Gemm" else f"QLinear{node.kind}"))
        else:
            self.nodes += [RuntimeNode("DequantizeLinear", (), (name,), (name,)) for name in integers]
            self.nodes.append(node)
            if is_integer_out:
                self.nodes.append(RuntimeNode("QuantizeLinear", (), node.outputs, node.outputs))

    def _is_integer(self, name: str) -> bool:
        tensor = self.graph.tensors[name]
        return tensor.bits == 8 and not tensor.is_float


def channels_last(graph: Graph, nodes: Sequence[RuntimeNode]) -> list[RuntimeNode]:
    """Return the nodes of a network of integers, with conversions and transposes."""
    readers = readers_of(nodes)
    state = _Integers(graph, readers, _leading(nodes, readers))
    for node in nodes:
        state.lay_out(node)
        state.compute(node)
    return state.nodes


def _leading(nodes: Sequence[RuntimeNode], readers: dict[str, list[RuntimeNode]]) -> set[int]:
    """Return the identities of the nodes from which a convolution is reached with channels last."""
    found: set[int] = set()
    for node in reversed(nodes):
        later = [one for name in node.outputs for one in readers[name]]
        if node.kind not in CHANNELS_FIRST and any(one.kind == "Conv" or id(one) in found for one in later):
            found.add(id(node))
    return found
