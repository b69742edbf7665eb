"""Fusions that ONNX Runtime makes before it knows how tensors are laid out.

Source:
    ONNX Runtime 1.32, core/optimizer (conv_activation_fusion.cc, quick_gelu_fusion.cc, bias_gelu_fusion.cc,
    matmul_scale_fusion.cc, gather_slice_fusion.cc, reshape_fusion.cc, identical_children_consolidation.cc).
"""

from collections import defaultdict
from collections.abc import Sequence

from paredown.evaluators.files.onnx_graph import Graph
from paredown.evaluators.latency.runtime_node import RuntimeNode, readers_of

FUSED_ACTIVATIONS = frozenset({"Relu", "Sigmoid", "Tanh", "Clip", "LeakyRelu", "HardSigmoid", "HardSwish"})


def fused(graph: Graph, is_integer: bool) -> list[RuntimeNode]:
    """Return the graph after fusions that do not depend on how tensors are laid out."""
    nodes = _split_slices(_once([RuntimeNode(o.kind, (o,), o.inputs, o.outputs) for o in graph.operators]))
    if is_integer:
        return nodes
    nodes = _without_shapes_of_heads(graph, nodes)
    readers, gone, found = readers_of(nodes), set[int](), list[RuntimeNode]()
    for node in nodes:
        if id(node) in gone:
            continue
        after = readers[node.outputs[0]] if node.outputs and node.outputs[0] not in graph.outputs else []
        whole, absorbed = _absorbing(node, after[0]) if len(after) == 1 else _with_gelu(node, readers)
        gone.update(map(id, absorbed))
        found.append(whole)
    return found


def _absorbing(node: RuntimeNode, after: RuntimeNode) -> tuple[RuntimeNode, list[RuntimeNode]]:
    """Return a node with its only reader fused into it, where that is done, and what was fused."""
    both = (*node.operators, *after.operators)
    if node.kind == "Sigmoid" and after.kind == "Mul" and set(after.inputs) == {*node.inputs, *node.outputs}:
        return RuntimeNode("QuickGelu", both, node.inputs, after.outputs), [after]
    if node.kind == "Conv" and after.kind in FUSED_ACTIVATIONS:
        return node._replace(operators=both, outputs=after.outputs, activation=after.kind), [after]
    if node.kind == "MatMul" and after.kind in ("Div", "Mul") and after.first.constants:
        return node._replace(kind="FusedMatMul", outputs=after.outputs), [after]
    return node, []


def _with_gelu(node: RuntimeNode, readers: dict[str, list[RuntimeNode]]) -> tuple[RuntimeNode, Sequence[RuntimeNode]]:
    """Return an addition of a bias with the GELU after it, where there is one, and what was fused."""
    gelu = _gelu(node, readers) if node.kind == "Add" and node.first.constants else []
    return (RuntimeNode("BiasGelu", node.operators, node.inputs, gelu[-1].outputs), gelu) if gelu else (node, gelu)


def _once(nodes: Sequence[RuntimeNode]) -> list[RuntimeNode]:
    """Return the nodes without those that compute again what another one has computed."""
    same: dict[str, str] = {}
    known: dict[tuple[object, ...], list[RuntimeNode]] = defaultdict(list)
    found = []
    for node in nodes:
        if any(name in same for name in node.inputs):
            node = node._replace(inputs=tuple(same.get(name, name) for name in node.inputs))
        alike = known[node.kind, node.inputs, node.first.constants]
        twin = next((one for one in alike if one.first.attributes == node.first.attributes), None)
        if twin is None or not node.inputs:
            alike.append(node)
            found.append(node)
        else:
            same |= dict(zip(node.outputs, twin.outputs, strict=True))
    return found


def _split_slices(nodes: Sequence[RuntimeNode]) -> list[RuntimeNode]:
    """Return the nodes with slices of one tensor as one split, and a transpose before a split as one after it."""
    readers, gone, found = readers_of(nodes), set[int](), list[RuntimeNode]()
    for node in nodes:
        after = readers[node.outputs[0]] if node.outputs else []
        slices = [r for r in readers[node.inputs[0]] if r.kind == "Slice"] if node.kind == "Slice" else []
        if id(node) in gone:
            continue
        if len(slices) > 1:
            gone.update(map(id, slices))
            node = node._replace(kind="Split", outputs=tuple(n for s in slices for n in s.outputs))
        elif node.kind == "Transpose" and len(after) == 1 and after[0].kind == "Split" and len(after[0].outputs) == 3:
            gone.add(id(after[0]))
            names = after[0].outputs
            found.append(after[0]._replace(inputs=node.inputs))
            merged = [any(t.kind == "Transpose" for s in readers[n] for t in readers[s.outputs[0]]) for n in names]
            found += [
                node._replace(inputs=(name,), outputs=(name,))
                for name, is_merged in zip(names, merged, strict=True)
                if not is_merged
            ]
            continue
        found.append(node)
    return found


def _without_shapes_of_heads(graph: Graph, nodes: Sequence[RuntimeNode]) -> list[RuntimeNode]:
    """Return the nodes without what computes the shape by which attention is divided into heads: it is constant."""
    readers = readers_of(nodes)

    def is_needed(node: RuntimeNode) -> bool:
        if node.kind == "Concat":
            return not any(r.kind == "Reshape" and len(graph.tensors[r.outputs[0]].shape) == 5 for r in after(node))
        return node.kind != "Unsqueeze" or not after(node) or any(map(is_needed, after(node)))

    def after(node: RuntimeNode) -> list[RuntimeNode]:
        return readers[node.outputs[0]]

    return [node for node in nodes if is_needed(node)]


def _gelu(node: RuntimeNode, readers: dict[str, list[RuntimeNode]]) -> list[RuntimeNode]:
    """Return the operators of an exact GELU that follows; nothing where none does."""
    chain, at = list[RuntimeNode](), node
    after = readers[node.outputs[0]]
    if sorted(r.kind for r in after) != ["Div", "Mul"]:
        return []
    at = next(r for r in after if r.kind == "Div")
    for kind in ("Erf", "Add", "Mul", "Mul"):
        chain.append(at)
        following = readers[at.outputs[0]]
        if len(following) != 1 or following[0].kind != kind:
            return []
        at = following[0]
    return [*chain, at]
