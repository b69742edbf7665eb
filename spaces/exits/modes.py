"""Modes of a traced network: a trace replaces `self.training` by a constant; this module restores dropout."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

DROPOUTS: Mapping[Callable[..., Any] | str, type[nn.modules.dropout._DropoutNd]] = {
    F.dropout: nn.Dropout,
    F.dropout1d: nn.Dropout1d,
    F.dropout2d: nn.Dropout2d,
    F.dropout3d: nn.Dropout3d,
    F.alpha_dropout: nn.AlphaDropout,
    F.feature_alpha_dropout: nn.FeatureAlphaDropout,
    torch.dropout: nn.Dropout,
    torch.feature_dropout: nn.Dropout2d,
    torch.alpha_dropout: nn.AlphaDropout,
    torch.feature_alpha_dropout: nn.FeatureAlphaDropout,
}
"""Dropout functions, which take the mode as an argument, and the layers that know their mode."""
FOLLOWS = "follows the mode"
"""Mark of a node whose dropout function drops in training alone."""


def mark_dropouts(trained: fx.GraphModule, evaluated: fx.GraphModule) -> fx.Node | None:
    """Mark the dropout functions that drop in training alone.

    Args:
        trained: A network traced in training mode; its nodes get the marks.
        evaluated: The same network traced in evaluation mode.

    Returns:
        The first node at which the two traces differ otherwise; None where there is none.
    """
    nodes: list[list[fx.Node]] = [list(traced.graph.nodes) for traced in (trained, evaluated)]
    order = {node: i for own in nodes for i, node in enumerate(own)}
    for one, other in zip(nodes[0], nodes[1], strict=False):  # the output ends the shorter one, so it differs there
        here, there = _call(one, order), _call(other, order)
        if here != there:
            modes = here.get("training"), there.get("training")
            drops = one.target in DROPOUTS and isinstance(here["p"], int | float)
            if not drops or modes != (True, False) or here | {"training": False} != there:
                return one
            one.meta[FOLLOWS] = True
        elif one.op == "get_attr":
            constant = operator.attrgetter(str(one.target))
            if not _equal(constant(trained), constant(evaluated)):
                return one
    return None


def put_dropout_layers(traced: fx.GraphModule) -> None:
    """Replace each marked node by a dropout layer, in place."""
    for node in list(traced.graph.nodes):
        if node.meta.get(FOLLOWS):
            call, name = _call(node), str(node.name)
            while hasattr(traced, name):
                name += "_"
            traced.add_submodule(name, DROPOUTS[node.target](call["p"], call.get("inplace", False)))
            with traced.graph.inserting_after(node):
                layer = traced.graph.call_module(name, (node.all_input_nodes[0],))
            node.replace_all_uses_with(layer)
            traced.graph.erase_node(node)
    traced.recompile()


def _call(node: fx.Node, order: Mapping[fx.Node, int] | None = None) -> dict[str, Any]:
    """Return the call of a node, with other nodes as their place in the order, and arguments of dropouts by name."""
    args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), lambda n: f"%{(order or {}).get(n)}")
    call = {"op": node.op, "target": node.target}
    if node.target not in DROPOUTS:
        return call | {"args": args, "kwargs": kwargs}
    named = dict(zip(("input", "p", "training", "inplace"), args, strict=False)) | kwargs
    return call | {"training" if name == "train" else name: value for name, value in named.items()}


def _equal(one: object, other: object) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return one is other
