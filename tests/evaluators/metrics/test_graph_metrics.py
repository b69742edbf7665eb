"""Metrics of the exported graph, worked out by hand: bit operations, peak of activations; and times of whole runs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from int8_models import int8_file
from onnx import helper, numpy_helper
from torch import Tensor, nn

from paredown.evaluators.files.onnx_graph import read_graph
from paredown.evaluators.files.onnx_model import export, slimmed
from paredown.evaluators.metrics.bit_ops import BIT_OPS, bit_operations
from paredown.evaluators.metrics.cold_start_ms import COLD_START_MS
from paredown.evaluators.metrics.evaluation_input import Baseline, EvaluationInput
from paredown.evaluators.metrics.peak_activation_bytes import PEAK_ACTIVATION_BYTES, peak_bytes
from paredown.evaluators.metrics.throughput_ips import THROUGHPUT_IPS
from paredown.spaces.compression.quantization import QUANTIZATION
from paredown.spaces.compression.step import RewriteContext
from paredown.spaces.knob import Knobs

SHAPE = (3, 8, 8)
CONVOLUTION, DEPTHWISE, LINEAR = 64 * 3 * 4 * 9, 16 * 4 * 9, 4 * 2


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
    ).eval()


@pytest.fixture
def inputs(tmp_path: Path) -> EvaluationInput:
    model = network()
    (tmp_path / "model.onnx").write_bytes(export(model, SHAPE))
    return EvaluationInput(model, SHAPE, tmp_path / "model.onnx")


def in_format(inputs: EvaluationInput, knobs: Knobs) -> EvaluationInput:
    assert inputs.file is not None
    assert QUANTIZATION.rewrite is not None
    images = np.random.default_rng(0).normal(size=(4, *SHAPE)).astype(np.float32)
    context = RewriteContext(images, np.zeros(4, np.int64), trained=False)
    file = inputs.file.with_name("other.onnx")
    file.write_bytes(slimmed(QUANTIZATION.rewrite(inputs.file.read_bytes(), knobs, context)))
    return replace(inputs, file=file)


@pytest.mark.parametrize(
    ("knobs", "bits"),
    [
        ({"weights": "fp32"}, (32 * 32,) * 3),
        ({"weights": "fp16"}, (16 * 16,) * 3),
        ({"weights": "int8", "activations": "uint8"}, (8 * 8,) * 3),
        ({"weights": "int8", "activations": "fp32"}, (8 * 32,) * 3),
        ({"weights": "mixed", "early": 2, "middle": 4, "late": 8, "activations": "uint8"}, (2 * 8, 4 * 8, 8 * 8)),
    ],
)
def test_bit_operations_by_hand(knobs: Knobs, bits: tuple[int, int, int], inputs: EvaluationInput) -> None:
    given = inputs if knobs["weights"] == "fp32" else in_format(inputs, knobs)
    first, second, third = bits
    assert BIT_OPS.evaluate(given).value == CONVOLUTION * first + DEPTHWISE * second + LINEAR * third


def test_the_peak_of_activations_by_hand(inputs: EvaluationInput) -> None:
    measured = PEAK_ACTIVATION_BYTES.evaluate(inputs)
    assert measured.value == 4 * (3 * 64 + 4 * 64)  # the image and what the first convolution writes
    assert measured.how == "lower bound"
    assert "lower bound" in measured.note


def test_int8_tensors_take_a_byte(tmp_path: Path, inputs: EvaluationInput) -> None:
    (tmp_path / "int8.onnx").write_bytes(int8_file(network(), SHAPE))
    measured = PEAK_ACTIVATION_BYTES.evaluate(replace(inputs, file=tmp_path / "int8.onnx"))
    assert measured.value == 4 * 3 * 64 + 3 * 64  # the image as it comes, and in int8


class Residual(nn.Module):
    """A block whose input lives on until it is added."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(torch.relu(self.first(x))))


def test_a_shortcut_lives_until_it_is_added() -> None:
    # image 192 numbers and 512 in the middle; the sum goes where the image was
    assert peak_bytes(read_graph(export(Residual().eval(), SHAPE))) == 4 * (192 + 512)


def test_many_images_are_not_slower_than_one_at_a_time(inputs: EvaluationInput) -> None:
    assert inputs.file is not None
    own = Baseline(inputs.file, SHAPE, latency_ms=2.0)
    beside = THROUGHPUT_IPS.evaluate(replace(inputs, baseline=own))
    assert beside.note == "32 images at once"
    assert beside.value > 500  # 1 in 2 ms alone
    four = THROUGHPUT_IPS.evaluate(replace(inputs, baseline=own, batch_size=4))
    assert four.note == "4 images at once"
    assert four.device.endswith("batch 4")


def test_a_cold_start_takes_longer_than_a_run(inputs: EvaluationInput) -> None:
    assert inputs.file is not None
    own = Baseline(inputs.file, SHAPE, latency_ms=2.0)
    assert COLD_START_MS.evaluate(replace(inputs, baseline=own)).value > 4.0


def branch(sizes: tuple[int, ...], name: str) -> onnx.GraphProto:
    """Return products of a row of numbers with matrices, one after the other, from the tensor `image` outside."""
    names = ["image", *(f"{name}{at}" for at in range(1, len(sizes)))]
    weights = [
        numpy_helper.from_array(np.ones((sizes[at], sizes[at + 1]), np.float32), f"{name}w{at}")
        for at in range(len(sizes) - 1)
    ]
    nodes = [helper.make_node("MatMul", [names[at], weights[at].name], [names[at + 1]]) for at in range(len(sizes) - 1)]
    output = helper.make_tensor_value_info(names[-1], onnx.TensorProto.FLOAT, (1, sizes[-1]))
    return helper.make_graph(nodes, name, [], [output], weights)


def test_of_alternatives_the_longest_counts() -> None:
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, (1, 4))
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["leaves"], to=onnx.TensorProto.BOOL),
        helper.make_node(
            "If", ["leaves"], ["logits"], then_branch=branch((4, 2), "a"), else_branch=branch((4, 8, 2), "b")
        ),
    ]
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, (1, 2))
    model = helper.make_model(helper.make_graph(nodes, "exits", [image], [logits]))
    graph = read_graph(bytes(model.SerializeToString()))
    assert bit_operations(graph) == 32 * 32 * (4 * 8 + 8 * 2)
    # the image, which a branch reads, the flag, the logits, and inside eight numbers with the two that follow
    assert peak_bytes(graph) == 16 + 1 + 8 + 4 * (8 + 2)
