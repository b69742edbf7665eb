"""From the name of an operator in an exported file to the module that it comes from."""

from collections.abc import Sequence

import onnx

from paredown.spaces.compression.layers import excluded


def module_of(node: str) -> str:
    """Return the dotted name of the module in which an operator runs; empty for the network itself.

    The exporter writes `/stem/stem.0/Conv` where `stem` is a sequence, `/head/Gemm` where `head` is a layer.
    """
    *scopes, _ = node.strip("/").split("/")
    path: list[str] = []
    for scope in scopes:
        if path and scope.startswith(f"{path[-1]}."):
            path[-1] = scope
        else:
            path.append(scope)
    return ".".join(path)


def excluded_nodes(graph: onnx.GraphProto, patterns: Sequence[str]) -> dict[str, str]:
    """Return the operators in layers that match a pattern, each with the pattern."""
    return {node.name: pattern for node in graph.node if (pattern := excluded(module_of(node.name), patterns))}
