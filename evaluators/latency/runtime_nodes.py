"""Nodes that ONNX Runtime executes for a file, found by its own rules in about a millisecond and without running it.

What a file lists is not what runs. Operators are fused; convolutions of 32-bit numbers run on blocks of channels where
the counts of channels allow it, with tensors reordered where blocks begin and end; integers run channels last, and an
operator without an integer kernel runs on floating-point numbers between two conversions. A rule that does not hold in
another version costs accuracy alone: latencies of whole networks, which are measured, correct it.
"""

from paredown.evaluators.files.onnx_graph import Graph
from paredown.evaluators.latency.blocked_nodes import blocked
from paredown.evaluators.latency.instructions import Instructions
from paredown.evaluators.latency.integer_nodes import channels_last
from paredown.evaluators.latency.node_fusion import fused
from paredown.evaluators.latency.runtime_node import RuntimeNode, split_hardswish


def runtime_nodes(graph: Graph, instructions: Instructions) -> list[RuntimeNode]:
    """Return the nodes that run for a graph on a processor with some instructions."""
    written = {name for operator in graph.operators for name in operator.outputs}
    is_integer = any(graph.tensors[name].bits == 8 and not graph.tensors[name].is_float for name in written)
    if is_integer:
        return channels_last(graph, split_hardswish(fused(graph, is_integer)))
    return blocked(graph, fused(graph, is_integer), instructions.vector)
