"""How ONNX Runtime executes a network of integers: channels last, and between conversions where it has no kernel.

Source:
    ONNX Runtime 1.32, core/optimizer (qdq_transformer, nhwc_transformer.cc, transpose_optimization).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from paredown.evaluators.files.onnx_graph import Graph
from paredown.evaluators.latency.runtime_node import RuntimeNode

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
    nodes: list[RuntimeNode] = field(default_factory=list)
    last: set[str] = field(default_factory=set)
    transposed: set[str] = field(default_factory=set)

    def lay_out(self, node: RuntimeNode) -> None:
        """Add the transposes that a node needs, and note how its outputs are laid out."""
        is_convolution = node.kind == "Conv"
        in_last = [name for name in node.inputs if name in self.last]
        if is_convolution:
            self._transpose(name for name in node.inputs if name not in self.last)
        elif node.kind in CHANNELS_FIRST:
            self._transpose(in_last)
        if is_convolution or (in_last and node.kind not in CHANNELS_FIRST):
            self.last.update(node.outputs)

    def _transpose(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.transposed:
                self.nodes.append(RuntimeNode("Transpose", (), (name,), (name,)))
                self.transposed.add(name)

    def compute(self, node: RuntimeNode) -> None:
        """Add a node, as one on integers or between conversions."""
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
    state = _Integers(graph)
    for node in nodes:
        state.lay_out(node)
        state.compute(node)
    return state.nodes
