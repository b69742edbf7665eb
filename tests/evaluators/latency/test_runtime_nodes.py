"""Nodes that run, beside ONNX Runtime's own optimised graph; what is read of them, and their times."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from gated_network import Gated

from paredown.evaluators.device import CPU_FILE
from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.files.onnx_graph import read_graph
from paredown.evaluators.files.onnx_model import export
from paredown.evaluators.latency.block_networks import (
    OPSET,
    ZERO,
    Feature,
    NetworkWriter,
    block_network,
    convolution,
)
from paredown.evaluators.latency.instructions import instructions_here
from paredown.evaluators.latency.node_counts import FEATURES, counts_of, features
from paredown.evaluators.latency.node_features import AT, CLASSES, measures
from paredown.evaluators.latency.node_times import NodeTimes, _ran, divided, marked, node_times
from paredown.evaluators.latency.profiling import number_formats
from paredown.evaluators.latency.random_networks import in_format, random_networks
from paredown.evaluators.latency.runtime_nodes import runtime_nodes
from paredown.evaluators.latency.single_precision import in_single_precision
from paredown.spaces.families.catalogue import PUBLISHED

SHAPE = (3, 8, 8)
HERE = instructions_here()
FAMILY_SEEDS = (0, 2, 4, 7, 53, 24)
"""Seeds of one network of each family."""
UNUSUAL_SEEDS = (110_000_023, 110_000_067, 110_000_088, 110_000_108)
"""Seeds of networks whose images end as one pixel, whose channels are shuffled between grids, and whose last block
splits channels: what is cheap for larger images is not worth a transpose there."""
INTEGER_SEEDS = (0, 2, 4, 7, 53, *UNUSUAL_SEEDS)
"""Seeds of networks that pool integers channels first, channels last and both."""
ALIKE = {"NhwcMaxPool": "MaxPool", "FusedConv": "Conv"}


def optimised(model: bytes, folder: Path) -> Counter[str]:
    """Return how often each node runs, by ONNX Runtime itself."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    graph = onnx.load(folder / "optimised.onnx").graph
    constants = {tensor.name for tensor in graph.initializer}
    nodes = [n for n in graph.node if n.op_type != "DequantizeLinear" or n.input[0] not in constants]
    return Counter(ALIKE.get(node.op_type, node.op_type) for node in nodes)


def ours(model: bytes) -> Counter[str]:
    return Counter(node.kind for node in runtime_nodes(read_graph(model), HERE))


def has_blocks() -> bool:
    return CPU_FILE.is_file() and "avx2" in CPU_FILE.read_text()


@pytest.fixture(scope="module")
def model() -> bytes:
    torch.manual_seed(0)
    return export(Gated().eval(), SHAPE)


@pytest.mark.skipif(not has_blocks(), reason="blocks of channels are known of AVX2 and AVX-512 alone")
def test_floating_point_nodes_are_those_of_the_runtime(tmp_path: Path) -> None:
    for seed in range(0, 40, 2):
        model, _ = block_network(seed, "fp32")
        assert ours(model) == optimised(model, tmp_path), f"network {seed}"


def test_integer_nodes_are_those_of_the_runtime(tmp_path: Path) -> None:
    for seed in range(1, 41, 2):
        model, _ = block_network(seed, "int8")
        assert ours(model) == optimised(model, tmp_path), f"network {seed}"


@pytest.mark.skipif(not has_blocks(), reason="blocks of channels are known of AVX2 and AVX-512 alone")
def test_families_run_as_the_runtime_says(tmp_path: Path) -> None:
    networks = [network for seed in FAMILY_SEEDS for network in random_networks(seed, ("fp32", "int8"))]
    assert {network.name.split("-")[0] for network in networks} == set(PUBLISHED)
    for network in networks:
        assert ours(network.model) == optimised(network.model, tmp_path), f"{network.name}, {network.format}"


@pytest.mark.skipif(not has_blocks() or "fp16" in number_formats(), reason="float16 runs, or blocks are not known")
def test_half_floats_run_as_single_ones_where_the_machine_has_none(model: bytes, tmp_path: Path) -> None:
    half = in_format(model, "fp16", SHAPE)
    run = Counter(node.kind for node in runtime_nodes(in_single_precision(read_graph(half)), HERE))
    assert run == ours(model)
    assert run != ours(half)
    found = optimised(half, tmp_path)
    assert 0 < found.pop("Cast") <= 2
    assert run == found


def test_unusual_integers_run_as_the_runtime_says(tmp_path: Path) -> None:
    for seed in UNUSUAL_SEEDS:
        network = next(one for one in random_networks(seed, ("fp32", "int8")) if one.format == "int8")
        assert ours(network.model) == optimised(network.model, tmp_path), network.name


def test_a_concatenation_converts_what_lies_on_another_grid() -> None:
    nodes, elements = concatenated(second_scale=0.04)
    assert (nodes, elements) == ([("QLinearConcat", True)], 64)
    assert concatenated(second_scale=0.05) == ([("QLinearConcat", True)], 0), "it copies"


def concatenated(second_scale: float) -> tuple[list[tuple[str, bool]], float]:
    """Return the concatenations of two convolutions whose integers lie on two grids, and what they convert."""
    writer = NetworkWriter(is_int8=True)
    image = Feature(writer.pair("image"), 3, 4)
    parts = [writer.pair(convolution(writer, image, 4, 3).name)]
    ends = [writer.constant(np.float32(second_scale)), writer.constant(ZERO)]
    second = writer.node("QuantizeLinear", [convolution(writer, image, 4, 3).name, *ends])
    parts.append(writer.node("DequantizeLinear", [second, *ends]))
    joined = writer.pair(writer.node("Concat", parts, axis=1))
    writer.node("Conv", [joined, *writer.layer((4, 8, 1, 1))], kernel_shape=[1, 1])
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("image", (1, 3, 4, 4)), (writer.nodes[-1].output[0], (1, 4, 4, 4)))
    ]
    graph = onnx.helper.make_graph(writer.nodes, "joined", values[:1], values[1:], writer.weights)
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    read = read_graph(onnx.helper.make_model(graph, opset_imports=opsets).SerializeToString())
    found = runtime_nodes(read, HERE)
    rows = measures(read, found, HERE)[:, AT["recoded"]]
    return [(n.kind, n.channels_last) for n in found if "Concat" in n.kind], float(rows.sum())


def test_integers_are_laid_out_as_the_runtime_does(tmp_path: Path) -> None:
    for seed in INTEGER_SEEDS:
        model = marked(next(one.model for one in random_networks(seed, ("fp32", "int8")) if one.format == "int8"))
        optimised(model, tmp_path)
        pools = [
            n for n in onnx.load(tmp_path / "optimised.onnx").graph.node if n.op_type == "QLinearGlobalAveragePool"
        ]
        nodes = [node for node in runtime_nodes(read_graph(model), HERE) if node.kind == "QLinearGlobalAveragePool"]
        assert {node.first.name.partition(".")[0]: node.channels_last for node in nodes} == {
            n.name.partition(".")[0]: any(a.name == "channels_last" and a.i == 1 for a in n.attribute) for n in pools
        }, f"network {seed}"


def test_measures_by_hand(model: bytes) -> None:
    graph = read_graph(model)
    nodes = runtime_nodes(graph, HERE)
    read = measures(graph, nodes, HERE)
    first = dict(zip(AT, read[0], strict=True))
    assert (nodes[0].kind, nodes[0].activation, nodes[0].blocked) == ("Conv", "Relu", True)
    assert CLASSES[int(first["class"])] == "direct"
    assert (first["rows"], first["depth"], first["channels_in"], first["is_first"]) == (64, 27, 3, 1)
    counts = counts_of(read, HERE)
    assert counts["macs"][0] == 64 * 27 * first["columns"]
    assert features(counts, HERE).shape == (len(nodes), len(FEATURES))
    assert np.isfinite(features(counts, HERE)).all()


def test_an_integer_operator_without_a_kernel_runs_between_conversions() -> None:
    for seed in range(1, 60, 2):
        kinds = [node.kind for node in runtime_nodes(read_graph(block_network(seed, "int8")[0]), HERE)]
        for at in (at for at, kind in enumerate(kinds) if kind == "HardSigmoid"):
            assert (kinds[at - 1], kinds[at + 1]) == ("DequantizeLinear", "QuantizeLinear")


@pytest.mark.parametrize("format_", ["fp32", "int8", "fp16"])
def test_nodes_of_networks_of_blocks_are_timed(format_: str) -> None:
    for seed in range(3):
        model, shape = block_network(seed, format_)
        names = marked(model)
        onnx.checker.check_model(onnx.load_from_string(names))
        graph = read_graph(names)
        nodes = runtime_nodes(graph, HERE)
        read = measures(graph, nodes, HERE)
        times = node_times(names, nodes, read, {"image": np.zeros((1, *shape), np.float32)}, 1, 0.01)
        is_heavy = counts_of(read, HERE)["macs"] > 1e5
        assert times.total_us > 0
        assert times.count > 0
        if format_ != "fp16":  # which a processor without float16 computes between casts
            assert (times.nodes_us[is_heavy] > 0).all(), "each convolution takes time"


def test_each_node_has_the_durations_of_all_runs() -> None:
    line = '{{"cat" : "Node","dur" :{},"ts" :9,"ph" : "X","name" :"{}_kernel_time","args" : {{"op_name" : "{}"}}}},'
    runs = [[4, 20], [2, 10], [2, 30], [8, 10]]
    text = "\n".join(
        line.format(us, *of) for run in runs for us, of in zip(run, (("a", "Conv"), ("b", "Add")), strict=True)
    )
    found = _ran(f"[\n{text}\n]")
    # the mean of the faster half, and half a microsecond, since whole ones are written
    assert {kind: [one.time_us for one in nodes] for kind, nodes in found.items()} == {"Conv": [2.5], "Add": [10.5]}
    with pytest.raises(EvaluationError, match="0 of 8 nodes are read"):
        _ran(text.replace('"dur"', '"duration"'))


def test_what_the_profiler_takes_is_taken_off() -> None:
    dice = np.random.default_rng(0)
    true = [dice.uniform(0.5, 20, dice.integers(10, 40)) for _ in range(50)]
    times = [NodeTimes(nodes + 2, float((nodes + 2).sum()), len(nodes)) for nodes in true]
    found = divided(times, np.array([nodes.sum() / 1e3 for nodes in true]))
    for nodes, own in zip(true, found, strict=True):
        assert own == pytest.approx(nodes, abs=0.5)


def test_the_same_seed_gives_the_same_network() -> None:
    assert block_network(3, "int8") == block_network(3, "int8") != block_network(4, "int8")


def test_int8_of_an_exported_network_runs_on_integers(model: bytes, tmp_path: Path) -> None:
    integers = in_format(model, "int8", SHAPE)
    assert ours(integers) == optimised(integers, tmp_path)
