"""Files with exits: the same decisions as the network and the batch runtime, and stages that are skipped."""

import json
import math
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from exits import CLASSES, SHAPE, exported, images, multi_exit

from paredown.evaluators.device import this_device
from paredown.evaluators.files.exit_file import export_stages, stitched
from paredown.evaluators.files.exit_runtime import BatchRuntime, ExitPlan
from paredown.evaluators.files.onnx_model import export
from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.evaluation_input import EvaluationInput
from paredown.evaluators.metrics.macs import exit_macs
from paredown.evaluators.packing.container import pack, read
from paredown.spaces.compression.quantization import QUANTIZATION
from paredown.spaces.compression.step import RewriteContext
from paredown.spaces.exits.network import MultiExit

SETTINGS = [
    {"rule": "confidence", "threshold": 0.6},
    {"rule": "entropy", "threshold": 0.5},
    {"rule": "confidence", "threshold": 0.5, "first_margin": 0.2},
    {"rule": "entropy", "threshold": 0.3, "first_margin": 0.2},
    {"rule": "patience"},
    {"rule": "confidence", "threshold": 0.6, "head": "convolution"},
    {"rule": "confidence", "threshold": 0.6, "exits": 1},
]
MACS = [16 * 16 * 4 * 9 + 4 * 5, 8 * 8 * 8 * 4 * 9 + 8 * 5, 4 * 4 * 8 * 8 * 9 + 8 * 5]
"""Of each stage with its head."""


def inputs(network: MultiExit, folder: Path) -> EvaluationInput:
    file = folder / "model.onnx"
    file.write_bytes(exported(network))
    x = images()
    with torch.no_grad():
        labels = network(x).argmax(1).numpy()
    labels[:15] = (labels[:15] + 1) % CLASSES  # a quarter is wrong
    return EvaluationInput(network, SHAPE, file, images=x.numpy(), labels=labels)


@pytest.mark.parametrize("knobs", SETTINGS, ids=str)
def test_network_file_and_batches_leave_at_the_same_exits(knobs: dict[str, object]) -> None:
    network, x = multi_exit(**knobs), images()
    with torch.no_grad():
        expected, taken = network(x).numpy(), network.taken(network.all_logits(x)).numpy()
    assert len(set(taken.tolist())) > 1, "or there would be nothing to compare"
    file = exported(network)
    one_by_one = logits(open_session(file), x.numpy())
    batches = BatchRuntime(file, batch=7).run(x.numpy())
    np.testing.assert_allclose(one_by_one, expected, atol=1e-4)
    np.testing.assert_allclose(batches.logits, expected, atol=1e-4)
    assert batches.taken.tolist() == taken.tolist()
    assert batches.rates == [float((taken == i).mean()) for i in range(len(network.stages))]
    for own, theirs in zip(network.all_logits(x), BatchRuntime(file).all_logits(x.numpy()), strict=True):
        np.testing.assert_allclose(theirs, own.detach().numpy(), atol=1e-4)


def nodes_run(file: bytes, image: np.ndarray, folder: Path) -> list[str]:
    """Return the operators that ONNX Runtime ran for an image, from its own profile."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(folder / "profile")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    session.run(None, {"image": image})
    events = json.loads(Path(session.end_profiling()).read_text())
    return [e["args"]["op_name"] for e in events if e["name"].endswith("_kernel_time")]


def test_an_exit_that_is_taken_skips_the_later_stages(tmp_path: Path) -> None:
    network, x = multi_exit(threshold=0.6), images()
    taken = network.taken(network.all_logits(x)).tolist()
    file = exported(network)
    convolutions = [nodes_run(file, x[taken.index(exit_)][None].numpy(), tmp_path).count("Conv") for exit_ in range(3)]
    assert convolutions == [1, 2, 3]


@pytest.mark.parametrize("weights", ["int8", "fp16"])
def test_each_stage_is_quantized_before_they_are_put_together(weights: str) -> None:
    network, x = multi_exit(threshold=0.6), images()
    rewrite = QUANTIZATION.rewrite
    assert rewrite is not None
    seen: list[tuple[int, ...]] = []

    def quantized(model: bytes, inputs: np.ndarray) -> bytes:
        seen.append(inputs.shape)
        context = RewriteContext(inputs, np.zeros(len(inputs), np.int64), target=this_device().target)
        return rewrite(model, {"weights": weights}, context)

    file = stitched(export_stages(network, SHAPE, x.numpy(), quantized), network.rule, CLASSES)
    assert seen == [(60, 1, 16, 16), (60, 4, 16, 16), (60, 8, 8, 8)]
    kinds = {"int8": b"QuantizeLinear", "fp16": b"Cast"}
    assert file.count(kinds[weights]) >= 3
    one_by_one, batches = logits(open_session(file), x.numpy()), BatchRuntime(file).run(x.numpy())
    np.testing.assert_allclose(one_by_one, batches.logits, atol=1e-4)
    with torch.no_grad():
        agree = (one_by_one.argmax(1) == network(x).numpy().argmax(1)).mean()
    assert agree > 0.8


def test_files_of_one_threshold_for_all_exits_are_read() -> None:
    stages = [["image", "alogits", "afeatures"], ["afeatures", "blogits", ""]]
    plan = ExitPlan.from_json(json.dumps({"rule": "confidence", "threshold": 0.7, "stages": stages}))
    assert plan is not None
    assert plan.thresholds == (0.7,)
    assert plan == ExitPlan.from_json(plan.to_json())


def test_the_file_takes_one_image_at_a_time() -> None:
    session = open_session(exported(multi_exit()))
    assert session.get_inputs()[0].shape == [1, *SHAPE]
    assert session.get_outputs()[0].shape == [1, CLASSES]
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
        session.run(None, {"image": np.zeros((2, *SHAPE), np.float32)})


def test_a_plain_file_has_no_batches_of_stages() -> None:
    with pytest.raises(ValueError, match="the model has no exits"):
        BatchRuntime(export(multi_exit().stages[0], SHAPE))


def test_expected_macs_exit_rate_and_accuracy_by_hand(tmp_path: Path) -> None:
    network = multi_exit(threshold=0.6)
    seen = inputs(network, tmp_path)
    passed = np.cumsum(MACS).tolist()
    assert exit_macs(network, SHAPE) == passed
    taken = network.taken(network.all_logits(images())).numpy()
    counts = [int((taken == i).sum()) for i in range(3)]
    assert all(counts)
    measured = EVALUATORS["macs"].evaluate(seen)
    assert measured.value == pytest.approx(sum(c * m for c, m in zip(counts, passed, strict=True)) / 60)
    assert measured.how == "measured"
    assert EVALUATORS["macs"].evaluate(EvaluationInput(network, SHAPE)).value == passed[-1], "untrained: all the way"
    assert EVALUATORS["exit_rate"].evaluate(seen).value == pytest.approx(1 - counts[2] / 60)
    assert EVALUATORS["accuracy"].evaluate(seen).value == 0.75


def test_an_easy_stream_is_faster_than_a_hard_one(tmp_path: Path) -> None:
    measured = []
    for threshold in (0.0, 1.01):
        network = multi_exit(threshold=threshold)
        network.stages[2] = torch.nn.Sequential(
            *(torch.nn.Conv2d(8, 8, 3, padding=1) for _ in range(60)), network.stages[2]
        )
        measured.append(EVALUATORS["latency_ms"].evaluate(inputs(network, tmp_path)).value)
    assert measured[0] < 0.7 * measured[1]


def test_a_packed_file_holds_the_weights_of_all_branches() -> None:
    network = multi_exit()
    model = exported(network)
    contents = read(pack(model))
    weights = sum(p.numel() for p in network.parameters())
    assert sum(math.prod(t.shape) for t in contents.tensors if t.encoding != "graph" and t.kind == "float32") >= weights
    inputs = images().numpy()
    np.testing.assert_array_equal(logits(open_session(contents.model), inputs), logits(open_session(model), inputs))
