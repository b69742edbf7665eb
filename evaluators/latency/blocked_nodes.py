"""How ONNX Runtime lays out a network of floating-point numbers: convolutions on blocks of channels where it can.

Source:
    ONNX Runtime 1.32, core/optimizer (nchwc_transformer.cc, conv_add_act_fusion.cc).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from paredown.evaluators.files.onnx_graph import Graph, Operator
from paredown.evaluators.latency.node_fusion import FUSED_ACTIVATIONS
from paredown.evaluators.latency.runtime_node import RuntimeNode, split_hardswish

ALIGNED = 4
"""Channels in a multiple of which a tensor can be blocked."""
BLOCKED_ACTIVATIONS = frozenset({"Relu", "Sigmoid", "Tanh", "QuickGelu"})


@dataclass
class _Blocks:
    """The nodes so far, and which tensors are blocked."""

    graph: Graph
    block: int
    uses: Counter[str]
    nodes: dict[int, RuntimeNode] = field(default_factory=dict)
    writers: dict[str, int] = field(default_factory=dict)
    blocked: set[str] = field(default_factory=set)
    plain: set[str] = field(default_factory=set)
    reordered: set[str] = field(default_factory=set)
    count: int = 0

    def append(self, node: RuntimeNode, is_blocked: bool, reorders: bool = True) -> None:
        """Add a node, after what brings its inputs into its layout."""
        if not is_blocked or not reorders:
            self.unblock(node.inputs)
        else:
            for name in node.inputs:
                if name not in self.blocked and name not in self.reordered and not node.adds:
                    self._add(RuntimeNode("ReorderInput", (), (name,), (name,)))
                    self.reordered.add(name)
        if is_blocked:
            self.blocked.update(node.outputs)
        self.writers |= dict.fromkeys(node.outputs, self._add(node._replace(blocked=True) if is_blocked else node))

    def unblock(self, names: Iterable[str]) -> None:
        """Add what brings blocked tensors back into plain order."""
        for name in names:
            if name in self.blocked and name not in self.plain:
                self._add(RuntimeNode("ReorderOutput", (), (name,), (name,)))
                self.plain.add(name)

    def convolution_before(self, name: str) -> int | None:
        """Return the place of a convolution that may absorb the only reader of a tensor; None where none may."""
        at = self.writers.get(name)
        if at is None or self.uses[name] != 1 or self.nodes[at].kind != "Conv" or self.nodes[at].activation:
            return None
        return at

    def _add(self, node: RuntimeNode) -> int:
        self.count += 1
        self.nodes[self.count] = node
        return self.count


def blocked(graph: Graph, nodes: Sequence[RuntimeNode], block: int) -> list[RuntimeNode]:
    """Return the nodes with convolutions on blocks of so many channels, where they can be, and reorders."""
    state = _Blocks(graph, block, Counter(name for node in nodes for name in node.inputs) + Counter(graph.outputs))
    for node in nodes:
        if node.kind == "Conv":
            _convolution(state, node)
        elif _fuses_sum(state, node) or _fuses_activation(state, node):
            continue
        elif node.kind == "HardSwish":
            for part in split_hardswish([node]):
                state.append(part, False)
        else:
            state.append(node, _stays_blocked(state, node))
    state.unblock(graph.outputs)
    return list(state.nodes.values())


def _convolution(state: _Blocks, node: RuntimeNode) -> None:
    kind = convolution_kind(state.graph, node.first, state.block)
    if kind != "plain":
        state.append(node, True, reorders=kind == "blocked")
    elif node.activation == "HardSwish":
        conv, swish = node.operators
        state.append(RuntimeNode("Conv", (conv,), node.inputs, conv.outputs), False)
        for part in split_hardswish([RuntimeNode("HardSwish", (swish,), conv.outputs, node.outputs)]):
            state.append(part, False)
    else:
        state.append(node, False)


def convolution_kind(graph: Graph, operator: Operator, block: int) -> str:
    """Return `direct` for a convolution that reads plain numbers and writes blocks, `blocked`, or `plain`."""
    weight, groups = graph.weight(operator), int(operator.attributes.get("group", 1))
    if weight is None or len(weight.shape) != 4 or operator.kind != "Conv" or weight.bits != 32:
        return "plain"
    outputs, inputs = weight.shape[:2]
    if groups > 1:
        if inputs == 1 and outputs == groups:
            return "blocked" if outputs % ALIGNED == 0 else "plain"
        return "plain" if inputs % block or outputs % groups or outputs // groups % block else "blocked"
    if inputs < block:
        return "direct"
    return "plain" if inputs % ALIGNED else "blocked"


def _fuses_sum(state: _Blocks, node: RuntimeNode) -> bool:
    """Fuse a sum into a convolution before it, where the two tensors are laid out alike."""
    if (
        node.kind != "Add"
        or len(node.inputs) != 2
        or len({state.graph.tensors[name].shape for name in node.inputs}) > 1
    ):
        return False
    for own, other in (node.inputs, node.inputs[::-1]):
        at = state.convolution_before(own)
        if at is None or state.nodes[at].adds:
            continue
        before = state.nodes[at]
        if before.blocked and other not in state.blocked:
            continue
        del state.nodes[at]
        operators, inputs = (*before.operators, *node.operators), (*before.inputs, other)
        fused = before._replace(operators=operators, inputs=inputs, outputs=node.outputs, adds=True)
        state.append(fused, before.blocked)
        return True
    return False


def _fuses_activation(state: _Blocks, node: RuntimeNode) -> bool:
    """Fuse an activation into the convolution into which a sum was fused."""
    at = state.convolution_before(node.inputs[0]) if node.kind in FUSED_ACTIVATIONS else None
    if at is None or node.kind == ("Clip" if state.nodes[at].blocked else "HardSwish"):
        return False
    before, operators = state.nodes[at], (*state.nodes[at].operators, *node.operators)
    state.nodes[at] = before._replace(operators=operators, outputs=node.outputs, activation=node.kind)
    state.writers |= dict.fromkeys(node.outputs, at)
    if before.blocked:
        state.blocked.update(node.outputs)
    return True


def _stays_blocked(state: _Blocks, node: RuntimeNode) -> bool:
    if not node.inputs or any(name not in state.blocked for name in node.inputs) or node.first.constants:
        return False
    shapes = [state.graph.tensors[name].shape for name in node.inputs]
    if node.kind in BLOCKED_ACTIVATIONS:
        return True
    if node.kind in ("Add", "Mul"):
        return len(shapes) == 2 and shapes[0] == shapes[1]
    if node.kind in ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Concat"):
        return all(len(shape) == 4 and shape[1] % state.block == 0 for shape in shapes)
    return False
