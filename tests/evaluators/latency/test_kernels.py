"""Kernels of a file, in the number formats, and that the files of blocks look like those of the exporter."""

import numpy as np
import onnx
import pytest
import torch
from gated_network import Gated

from paredown.evaluators.files.onnx_graph import read_graph
from paredown.evaluators.files.onnx_model import export
from paredown.evaluators.latency.block_networks import block_network
from paredown.evaluators.latency.kernel_times import kernel_shares, marked
from paredown.evaluators.latency.kernels import FEATURES, class_of, features, kernels_of, macs_of
from paredown.evaluators.latency.random_networks import in_format

SHAPE = (3, 8, 8)
EXPECTED = [
    ("convolution", ("Conv", "Relu")),
    ("global_pool", ("GlobalAveragePool",)),
    ("pointwise", ("Conv", "Sigmoid")),
    ("binary", ("Mul",)),
    ("depthwise", ("Conv", "Sigmoid", "Mul")),
    ("pointwise", ("Conv", "Add")),
    ("global_pool", ("GlobalAveragePool",)),
    ("view", ("Flatten",)),
    ("linear", ("Gemm",)),
]


@pytest.fixture(scope="module")
def model() -> bytes:
    torch.manual_seed(0)
    return export(Gated().eval(), SHAPE)


def test_activations_and_sums_belong_to_the_layer_that_they_follow(model: bytes) -> None:
    graph = read_graph(model)
    found = [(class_of(graph, k.first), tuple(o.kind for o in k.operators)) for k in kernels_of(graph)]
    assert found == EXPECTED


def test_integers_have_the_same_kernels_without_what_their_ranges_hold(model: bytes) -> None:
    graph = read_graph(in_format(model, "int8", SHAPE))
    found = [(class_of(graph, k.first), tuple(o.kind for o in k.operators)) for k in kernels_of(graph)]
    assert found[0] == ("convert", ("QuantizeLinear",))
    assert found[1] == ("convolution", ("Conv",))
    assert found[2:-1] == EXPECTED[1:]
    assert found[-1] == ("convert", ("DequantizeLinear",))
    rows = features(graph, kernels_of(graph))
    assert rows[1, FEATURES.index("int8_in")] == rows[1, FEATURES.index("int8_weights")] == 1


def test_features_by_hand(model: bytes) -> None:
    graph = read_graph(model)
    first = dict(zip(FEATURES, features(graph, kernels_of(graph))[0], strict=True))
    assert first["channels_in"] == 2.0  # log2(3 + 1)
    assert first["macs"] == pytest.approx(np.log2(64 * 8 * 27 + 1))
    assert (first["kernel"], first["stride"], first["is_first"], first["activation_relu"]) == (3, 1, 1, 1)
    assert (first["odd_in"], first["odd_in_4"], first["few_out"]) == (1, 1, 1)


@pytest.mark.parametrize("format_", ["fp32", "int8", "fp16"])
def test_networks_of_blocks_are_valid_and_divide_among_their_kernels(format_: str) -> None:
    for seed in range(4):
        model, shape = block_network(seed, format_)
        names = marked(model)
        onnx.checker.check_model(onnx.load_from_string(names))
        graph = read_graph(names)
        kernels = kernels_of(graph)
        shares = kernel_shares(names, kernels, {"image": np.zeros((1, *shape), np.float32)}, 1, 0.01)
        assert shares.sum() == pytest.approx(1)
        heavy = [macs_of(graph, k.first) > 1e5 for k in kernels]
        assert (shares[heavy] > 0).all(), "each convolution takes time"


def test_the_same_seed_gives_the_same_network() -> None:
    assert block_network(3, "int8") == block_network(3, "int8") != block_network(4, "int8")
