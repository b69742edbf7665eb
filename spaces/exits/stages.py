"""Stages of any network: places between its layers that a single tensor crosses.

The network is traced by `torch.fx`: plain sequences are looked into, everything else is one layer. Places after
named layers deeper inside are found too, since whatever contains a named layer is looked into.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from paredown.spaces.errors import InfeasibleCandidate

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)
LEFT = 2
"""Behind an exit there are at least so many layers with weights: a classifier alone is nothing to skip."""


@dataclass(frozen=True)
class Place:
    """Where an exit may stand.

    Attributes:
        name: Of the layer before it.
        share: Of the network's MACs that come before it.
        ends_stage: Whether the maps become smaller right behind it; for tokens, whether a block ends.
        shape: Of the tensor that crosses it, `n x c x h x w` or `n x tokens x width`.
    """

    name: str
    share: float
    ends_stage: bool
    shape: tuple[int, ...]


class _Tracer(fx.Tracer):
    """Looks into plain sequences and into what contains a named layer."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self._names = names

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        inside = any(name.startswith(f"{module_qualified_name}.") for name in self._names)
        return not inside and (type(m) is not nn.Sequential or module_qualified_name in self._names)


class _Observer(fx.Interpreter):
    """Runs a traced network and notes the result's shape and the MACs of each node."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[fx.Node, tuple[int, ...] | None] = {}
        self.macs: dict[fx.Node, int] = {}

    def run_node(self, n: fx.Node) -> Any:
        with FlopCounterMode(display=False) as counter:
            result = super().run_node(n)
        self.shapes[n] = tuple(result.shape) if isinstance(result, Tensor) else None
        self.macs[n] = counter.get_total_flops() // 2
        return result


def places(network: nn.Module, example: Tensor, names: Sequence[str] = ()) -> list[Place]:
    """Return every place where an exit may stand, in order.

    Args:
        network: Maps `n x c x h x w` to `n x classes`; is left alone.
        example: One input, `1 x c x h x w`.
        names: Layers that shall be looked for, also where they are inside of another one.

    Raises:
        InfeasibleCandidate: What the network does depends on its input, so that it cannot be traced.
    """
    graph = _traced(network, names)
    observer = _Observer(graph)
    training = {module: module.training for module in network.modules()}
    network.eval()
    graph.eval()
    try:
        with torch.no_grad():
            observer.run(example)
    finally:
        for module, mode in training.items():
            module.training = mode
    nodes = list(graph.graph.nodes)
    total, done = max(1, sum(observer.macs.values())), 0
    found = []
    for i, node in enumerate(nodes):
        done += observer.macs[node]
        shape = observer.shapes[node]
        if node.op != "call_module" or shape is None or len(shape) not in (3, 4):
            continue
        if not _alone(nodes, i) or _weighted(graph, nodes[i + 1 :]) < LEFT:
            continue
        later = next((observer.shapes[n] for n in nodes[i + 1 :] if n.op == "call_module"), None)
        found.append(Place(str(node.target), done / total, _is_end(shape, later), shape))
    return found


def cut(network: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Return the network in parts, one more than there are names; each ends behind a named layer.

    The parts share the network's layers.
    """
    graph = _traced(network, names)
    nodes = list(graph.graph.nodes)
    ends = [next(i for i, n in enumerate(nodes) if n.op == "call_module" and n.target == name) for name in names]
    bounds = [0, *(end + 1 for end in ends), len(nodes) - 1]
    parts = []
    for start, stop in itertools.pairwise(bounds):
        entry = nodes[start - 1] if start else next(n for n in nodes if n.op == "placeholder")
        inner = [n for n in nodes[start:stop] if n.op != "placeholder"]
        result = nodes[-1].args[0] if stop == len(nodes) - 1 else nodes[stop - 1]
        assert isinstance(result, fx.Node)
        parts.append(_part(graph, entry, inner, result))
    return parts


def _traced(network: nn.Module, names: Sequence[str]) -> fx.GraphModule:
    try:
        return fx.GraphModule(network, _Tracer(names).trace(network))
    except Exception as error:  # whatever the forward of any network raises while it is traced
        said = str(error).partition("\n")[0][:200]
        raise InfeasibleCandidate(f"early_exit: the network cannot be cut into stages: {said}") from error


def _alone(nodes: Sequence[fx.Node], at: int) -> bool:
    """Return whether the result of a node is all that what follows uses of what came before."""
    before = set(nodes[:at])
    return not any(
        used in before for later in nodes[at + 1 :] for used in later.all_input_nodes if used.op != "get_attr"
    )


def _weighted(graph: fx.GraphModule, nodes: Sequence[fx.Node]) -> int:
    layers = [graph.get_submodule(str(n.target)) for n in nodes if n.op == "call_module"]
    return sum(isinstance(m, WEIGHTED) for layer in layers for m in layer.modules())


def _is_end(shape: tuple[int, ...], later: tuple[int, ...] | None) -> bool:
    if len(shape) == 3 or later is None:
        return True
    return len(later) != 4 or math.prod(later[2:]) < math.prod(shape[2:])


def _part(graph: fx.GraphModule, entry: fx.Node, inner: Sequence[fx.Node], result: fx.Node) -> nn.Module:
    chain = [entry, *inner]
    if all(n.op == "call_module" and n.args == (b,) and not n.kwargs for b, n in zip(chain, inner, strict=False)):
        return nn.Sequential(*(graph.get_submodule(str(n.target)) for n in inner))
    part = fx.Graph()
    copies = {entry: part.placeholder("x")}
    for node in inner:
        for used in node.all_input_nodes:
            if used not in copies:  # a constant of the network
                copies[used] = part.node_copy(used)
        if node not in copies:
            copies[node] = part.node_copy(node, lambda n: copies[n])
    part.output(copies[result])
    return fx.GraphModule(graph, part)
