"""Writes networks with exits as one ONNX model, in which an `If` skips all that follows an exit that is taken.

Each stage is exported and rewritten by itself, so that steps such as quantization treat it as any other model. Then
the stages are nested: behind each exit, one branch of an `If` holds the exit's logits and the other branch all that
follows. The file takes one image at a time.
"""

from collections.abc import Callable
from graphlib import TopologicalSorter

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from paredown.evaluators.files.exit_runtime import DECIDES, EXITS_KEY, ExitPlan, entropy_limit
from paredown.evaluators.files.onnx_model import export_part, slimmed
from paredown.evaluators.files.onnx_session import BATCH_SIZE, open_session
from paredown.spaces.exits.network import MultiExit
from paredown.spaces.exits.rules import ExitRule
from paredown.spaces.families.family import ImageShape

Rewriting = Callable[[bytes, NDArray[np.float32]], bytes]
"""(ONNX model of a stage, calibration inputs of the stage, `n x ...`) -> the rewritten model."""


def export_stages(
    network: MultiExit, shape: ImageShape, images: NDArray[np.float32], rewrite: Rewriting
) -> list[bytes]:
    """Return each stage with its exit as a rewritten ONNX model with a free batch size.

    Args:
        network: A network with exits.
        shape: Channels, height, width of one input.
        images: Calibration images, normalised, `n x c x h x w`; the outputs of a stage calibrate the next one.
        rewrite: Function that rewrites each stage.
    """
    stages: list[bytes] = []
    x, one = images, np.zeros((1, *shape), np.float32)
    for i in range(len(network.stages)):
        model = export_part(network.part(i), one, ("logits", "features") if i < len(network.heads) else ("logits",))
        stages.append(slimmed(rewrite(model, x)))
        if i < len(network.heads):
            session = open_session(model)
            name = session.get_inputs()[0].name
            x = np.concatenate(
                [session.run(["features"], {name: x[j : j + BATCH_SIZE]})[0] for j in range(0, len(x), BATCH_SIZE)]
            )
            one = session.run(["features"], {name: one})[0]
    return stages


def stitched(stages: list[bytes], rule: ExitRule, classes: int) -> bytes:
    """Return the stages as one model that leaves at the first exit that the rule accepts.

    Args:
        stages: ONNX models from `export_stages`.
        rule: Rule of the exits.
        classes: Number of classes of the task.
    """
    models = _same_opset([onnx.load_from_string(stage) for stage in stages])
    names: list[tuple[str, str, str]] = []
    graphs = []
    entry = "image"
    for i, model in enumerate(models):
        prefix, is_last = chr(ord("a") + i), i == len(models) - 1
        graph, outputs = model.graph, [o.name for o in model.graph.output]
        fixed = {graph.input[0].name: entry} | {name: f"{prefix}{name}" for name in outputs}
        _rename(graph, prefix, fixed)
        renamed = [fixed[name] for name in outputs]
        names.append((entry, renamed[0], "" if is_last else renamed[1]))
        entry = names[-1][2]
        ordered = _in_order(graph)
        graphs.append(helper.make_graph(ordered, graph.name, [], [], list(graph.initializer)))
    inner = graphs[-1]
    answer = names[-1][1]
    for i in reversed(range(len(graphs) - 1)):
        outer = graphs[i]
        nodes, initializers, decision = _decision(rule, [n[1] for n in names[: i + 1]], classes)
        leave = helper.make_graph(
            [helper.make_node("Identity", [names[i][1]], [f"{DECIDES}_left{i}"])],
            "leave",
            [],
            [_value(f"{DECIDES}_left{i}")],
        )
        go_on = helper.make_graph(list(inner.node), "go_on", [], [_value(answer)], list(inner.initializer))
        answer = "logits" if i == 0 else f"{DECIDES}_logits{i}"
        chosen = helper.make_node("If", [decision], [answer], f"{DECIDES}_{i}", then_branch=leave, else_branch=go_on)
        inner = helper.make_graph(
            [*outer.node, *nodes, chosen], "exits", [], [_value(answer)], [*outer.initializer, *initializers]
        )
    image = onnx.load_from_string(stages[0]).graph.input[0]
    sides = [1, *(d.dim_value for d in image.type.tensor_type.shape.dim[1:])]
    inner.input.append(helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, sides))
    del inner.output[:]
    inner.output.append(helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, classes]))
    # Rewriting may have brought operators of other domains into some stages only.
    domains = {o.domain if o.domain != "ai.onnx" else "": o for model in models for o in model.opset_import}
    versions = max(model.ir_version for model in models)
    file = helper.make_model(inner, opset_imports=list(domains.values()), ir_version=versions)
    plan = ExitPlan(rule.kind, rule.thresholds, tuple(names))
    helper.set_model_props(file, {EXITS_KEY: plan.to_json()})
    return bytes(file.SerializeToString())


def _decision(
    rule: ExitRule, logits: list[str], classes: int
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto], str]:
    """Return nodes and constants that decide whether to leave at the last of some exits, and their output's name."""
    at = len(logits) - 1
    own, answer = f"{DECIDES}{at}_", f"{DECIDES}{at}_leave"
    nodes: list[onnx.NodeProto] = []

    def node(operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], f"{output}_node", **attributes))
        return output

    def constant(name: str, kind: int, dims: list[int], values: list[float]) -> onnx.TensorProto:
        return helper.make_tensor(own + name, kind, dims, values)

    if rule.kind == "patience":
        node("ArgMax", [logits[-1]], f"{own}class", axis=1, keepdims=0)
        if at == 0:
            return nodes, [constant("leave", onnx.TensorProto.BOOL, [1], [False])], answer
        node("Equal", [f"{DECIDES}{at - 1}_class", f"{own}class"], answer)
        return nodes, [], answer
    if rule.kind == "confidence":
        limit = constant("limit", onnx.TensorProto.FLOAT, [1], [rule.threshold(at)])
        node("Softmax", [logits[-1]], f"{own}shares", axis=1)
        node("ReduceMax", [f"{own}shares"], f"{own}largest", axes=[1], keepdims=0)
        node("GreaterOrEqual", [f"{own}largest", f"{own}limit"], answer)
        return nodes, [limit], answer
    limit = constant("limit", onnx.TensorProto.FLOAT, [1], [-entropy_limit(rule.threshold(at), classes)])
    axes = constant("axes", onnx.TensorProto.INT64, [1], [1])
    node("LogSoftmax", [logits[-1]], f"{own}logs", axis=1)
    node("Exp", [f"{own}logs"], f"{own}shares")
    node("Mul", [f"{own}logs", f"{own}shares"], f"{own}terms")
    node("ReduceSum", [f"{own}terms", f"{own}axes"], f"{own}negated", keepdims=0)
    node("GreaterOrEqual", [f"{own}negated", f"{own}limit"], answer)
    return nodes, [limit, axes], answer


def _same_opset(models: list[onnx.ModelProto]) -> list[onnx.ModelProto]:
    """Return the models at the same operator set version, which rewriting may have raised for some of them."""
    versions = [next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")) for model in models]
    latest = max(versions)
    return [
        model if version == latest else onnx.version_converter.convert_version(model, latest)
        for model, version in zip(models, versions, strict=True)
    ]


def _rename(graph: onnx.GraphProto, prefix: str, fixed: dict[str, str]) -> None:
    """Put a prefix before all names of a graph but the fixed ones, which are replaced as given."""

    def name(old: str) -> str:
        return old and fixed.get(old, prefix + old)

    for tensor in graph.initializer:
        tensor.name = name(tensor.name)
    for node in graph.node:
        node.input[:] = [name(one) for one in node.input]
        node.output[:] = [name(one) for one in node.output]


def _in_order(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return the nodes in topological order: converters append nodes, and nested graphs must be sorted."""
    made = {name: at for at, node in enumerate(graph.node) for name in node.output}
    needs = {at: [made[name] for name in node.input if name in made] for at, node in enumerate(graph.node)}
    return [graph.node[at] for at in TopologicalSorter(needs).static_order()]


def _value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
