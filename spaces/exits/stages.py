"""Cuts any network into stages, at places between its layers that a single tensor crosses.

`torch.fx` traces the network: it enters plain sequences and treats every other module as one layer. It also enters
every module that contains a named layer, so that places behind named layers deeper inside are found. A layer that is
called more than once has a name for each call: `relu`, `relu#2`, `relu#3`.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from paredown.spaces.counting import counted
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.exits.modes import mark_dropouts, put_dropout_layers
from paredown.spaces.module_mode import in_mode

WEIGHTED_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)
"""Layers that count as layers with weights."""
MIN_LAYERS_BEHIND = 2
"""Minimum number of layers with weights behind an exit: to skip a classifier alone saves nothing."""


@dataclass(frozen=True)
class Place:
    """A place where an exit may stand.

    Attributes:
        name: Name of the call of the layer before it.
        share: Share of the network's MACs before it.
        ends_stage: Whether the feature maps become smaller right behind it; for tokens, whether a block ends there.
        shape: Shape of the tensor that crosses it, `n x c x h x w` or `n x tokens x width`.
        also: Names of the modules that contain the layer and end with it.
    """

    name: str
    share: float
    ends_stage: bool
    shape: tuple[int, ...]
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Trace:
    """A traced network, and the node that holds the result of each call of a layer, by the name of the call."""

    graph: fx.GraphModule
    results: dict[str, fx.Node]


class _Tracer(fx.Tracer):
    """Traces into plain sequences and into modules that contain a named layer."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.results: dict[str, fx.Node] = {}
        self._names = [name.partition("#")[0] for name in names]
        self._calls: Counter[str] = Counter()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        name = self.path_of_module(m)
        self._calls[name] += 1
        call = name if self._calls[name] == 1 else f"{name}#{self._calls[name]}"
        result = super().call_module(m, forward, args, kwargs)
        if isinstance(result, fx.Proxy):
            self.results[call] = result.node
        return result

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        inside = any(name.startswith(f"{module_qualified_name}.") for name in self._names)
        return not inside and (type(m) is not nn.Sequential or module_qualified_name in self._names)


class _Observer(fx.Interpreter):
    """Runs a traced network and records the shape of the result and the MACs of each node."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[fx.Node, tuple[int, ...] | None] = {}
        self.macs: dict[fx.Node, int] = {}

    def run_node(self, n: fx.Node) -> Any:
        count = counted(lambda: super(_Observer, self).run_node(n))
        result = count.output
        self.shapes[n] = tuple(result.shape) if isinstance(result, Tensor) else None
        self.macs[n] = count.macs
        return result


def places(network: nn.Module, example: Tensor, names: Sequence[str] = ()) -> list[Place]:
    """Return every place where an exit may stand, in order.

    Args:
        network: The network, from `n x c x h x w` to `n x classes`; it is not changed.
        example: One input, `1 x c x h x w`.
        names: Names of layers to find even inside other modules.

    Raises:
        InfeasibleCandidate: The forward pass depends on the input or on the mode, so that it cannot be traced.
    """
    trace = _traced(network, names)
    graph = trace.graph
    observer = _Observer(graph)
    with in_mode(network, training=False), torch.no_grad():
        graph.eval()
        observer.run(example)
    nodes = list(graph.graph.nodes)
    total, done = max(1, sum(observer.macs.values())), 0
    found = []
    names_of: dict[fx.Node, list[str]] = {}
    for name, node in trace.results.items():
        names_of.setdefault(node, []).append(name)
    for i, node in enumerate(nodes):
        done += observer.macs[node]
        shape = observer.shapes[node]
        if node not in names_of or node.op == "placeholder" or shape is None or len(shape) not in (3, 4):
            continue
        if not _alone(nodes, i) or _weighted(graph, nodes[i + 1 :]) < MIN_LAYERS_BEHIND:
            continue
        later = next((observer.shapes[n] for n in nodes[i + 1 :] if n.op == "call_module"), None)
        ends_stage = node.op == "call_module" and _is_end(shape, later)
        name, *also = names_of[node]
        found.append(Place(name, done / total, ends_stage, shape, tuple(also)))
    return found


def cut(network: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Cut the network behind the named calls of layers, and return its parts.

    The parts share the network's layers.
    """
    trace = _traced(network, names)
    graph = trace.graph
    nodes = list(graph.graph.nodes)
    ends = [nodes.index(trace.results[name]) for name in names]
    bounds = [0, *(end + 1 for end in ends), len(nodes) - 1]
    parts = []
    for start, stop in itertools.pairwise(bounds):
        entry = nodes[start - 1] if start else next(n for n in nodes if n.op == "placeholder")
        inner = [n for n in nodes[start:stop] if n.op != "placeholder"]
        result = nodes[-1].args[0] if stop == len(nodes) - 1 else nodes[stop - 1]
        assert isinstance(result, fx.Node)
        parts.append(_part(graph, entry, inner, result))
    return parts


def _traced(network: nn.Module, names: Sequence[str]) -> _Trace:
    with in_mode(network, training=True):
        trained = _trace(network, names)
    with in_mode(network, training=False):
        evaluated = _trace(network, names)
    if differing := mark_dropouts(trained.graph, evaluated.graph):
        at = differing.target if differing.op == "call_module" else differing.name
        raise InfeasibleCandidate(
            "early_exit: the network cannot be cut into stages: in training its forward does something else than in "
            f"evaluation, first at {at!r}; allowed: dropout functions with training=self.training"
        )
    return trained


def _trace(network: nn.Module, names: Sequence[str]) -> _Trace:
    tracer, before = _Tracer(names), set(vars(network))
    try:
        return _Trace(fx.GraphModule(network, tracer.trace(network)), tracer.results)
    except Exception as error:  # the forward pass of any network may raise anything while it is traced
        message = str(error).partition("\n")[0][:200]
        raise InfeasibleCandidate(f"early_exit: the network cannot be cut into stages: {message}") from error
    finally:
        for constant in set(vars(network)) - before:  # tracing leaves its constants there
            delattr(network, constant)


def _alone(nodes: Sequence[fx.Node], at: int) -> bool:
    """Return whether the nodes behind a node use nothing computed before it but its result."""
    before = set(nodes[:at])
    return not any(
        used in before for later in nodes[at + 1 :] for used in later.all_input_nodes if used.op != "get_attr"
    )


def _weighted(graph: fx.GraphModule, nodes: Sequence[fx.Node]) -> int:
    layers = [graph.get_submodule(str(n.target)) for n in nodes if n.op == "call_module"]
    return sum(isinstance(m, WEIGHTED_LAYERS) for layer in layers for m in layer.modules())


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
    traced = fx.GraphModule(graph, part)
    put_dropout_layers(traced)
    return traced
