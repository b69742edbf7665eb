"""The order of the nodes of an ONNX graph."""

from collections.abc import Sequence
from typing import Any

from paredown.evaluators.errors import EvaluationError

Names = tuple[tuple[str, ...], tuple[str, ...]]
"""What a node reads, and what it writes."""


def sort_nodes(graph: Any) -> list[Names]:
    """Bring the nodes of an ONNX graph into an order in which they can run; converters append some at the end.

    Returns:
        What each reads and writes, in that order.

    Raises:
        EvaluationError: Some nodes wait for each other.
    """
    nodes = names_of(graph)
    if _are_sorted(nodes):
        return nodes
    written = {name for _, outputs in nodes for name in outputs if name}  # what a node omits has an empty name
    waiting, done, ordered = nodes, set[str](), list[Names]()
    while waiting:
        later = []
        for inputs, outputs in waiting:
            if all(name in done or name not in written for name in inputs):
                ordered.append((inputs, outputs))
                done.update(outputs)
            else:
                later.append((inputs, outputs))
        if len(later) == len(waiting):
            raise EvaluationError("the model's operators wait for each other")
        waiting = later
    places = {outputs: at for at, (_, outputs) in enumerate(ordered)}
    graph.node.sort(key=lambda node: places[tuple(node.output)])
    return ordered


def names_of(graph: Any) -> list[Names]:
    """Return what the nodes of an ONNX graph read and write."""
    return [(tuple(node.input), tuple(node.output)) for node in graph.node]


def _are_sorted(nodes: Sequence[Names]) -> bool:
    read = set[str]()
    for inputs, outputs in nodes:
        read.update(inputs)
        read.discard("")
        if not read.isdisjoint(outputs):
            return False
    return True
