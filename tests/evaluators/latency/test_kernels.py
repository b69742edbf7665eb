"""Kernels of a file, as a runtime fuses its operators."""

import pytest
import torch
from gated_network import Gated

from paredown.evaluators.files.onnx_graph import read_graph
from paredown.evaluators.files.onnx_model import export
from paredown.evaluators.latency.kernels import kernels_of
from paredown.evaluators.latency.random_networks import in_format

SHAPE = (3, 8, 8)
EXPECTED = [
    ("Conv", "Relu"),
    ("GlobalAveragePool",),
    ("Conv", "Sigmoid"),
    ("Mul",),
    ("Conv", "Sigmoid", "Mul"),
    ("Conv", "Add"),
    ("GlobalAveragePool",),
    ("Flatten",),
    ("Gemm",),
]


@pytest.fixture(scope="module")
def model() -> bytes:
    torch.manual_seed(0)
    return export(Gated().eval(), SHAPE)


def test_activations_and_sums_belong_to_the_layer_that_they_follow(model: bytes) -> None:
    assert [tuple(o.kind for o in kernel.operators) for kernel in kernels_of(read_graph(model))] == EXPECTED


def test_integers_have_the_same_kernels_without_what_their_ranges_hold(model: bytes) -> None:
    graph = read_graph(in_format(model, "int8", SHAPE))
    found = [tuple(o.kind for o in kernel.operators) for kernel in kernels_of(graph)]
    assert found[0] == ("QuantizeLinear",)
    assert found[1] == ("Conv",)
    assert found[2:-1] == EXPECTED[1:]
    assert found[-1] == ("DequantizeLinear",)
