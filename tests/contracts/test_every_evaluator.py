"""What every evaluator must do, and counts worked out by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from int8_models import int8_file
from torch import nn

from paredown.evaluators.devices.catalogue import device_profile
from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.files.names import PACKED_FILE
from paredown.evaluators.files.onnx_model import export
from paredown.evaluators.litert.conversion import tflite_model
from paredown.evaluators.litert.runtimes import arena
from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.evaluation_input import Baseline, EvaluationInput
from paredown.evaluators.metrics.flash_bytes import FILE_ALONE
from paredown.evaluators.packing.container import pack
from paredown.spaces.errors import InfeasibleCandidate

SHAPE = (3, 8, 8)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> EvaluationInput:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    ).eval()
    file = tmp_path_factory.mktemp("model") / "model.onnx"
    file.write_bytes(export(network, SHAPE))
    packed = file.with_name(PACKED_FILE)
    packed.write_bytes(pack(file.read_bytes()))
    images = np.random.default_rng(0).normal(size=(32, *SHAPE)).astype(np.float32)
    with torch.no_grad():
        labels = network(torch.from_numpy(images)).argmax(1).numpy()
    labels[:8] = 1 - labels[:8]  # a quarter is wrong
    return EvaluationInput(network, SHAPE, file, packed, images, labels)


@pytest.fixture(scope="module")
def integers(inputs: EvaluationInput, tmp_path_factory: pytest.TempPathFactory) -> EvaluationInput:
    """The same network in int8."""
    file = tmp_path_factory.mktemp("integers") / "model.onnx"
    file.write_bytes(int8_file(inputs.model, SHAPE))
    return replace(inputs, file=file)


@pytest.mark.parametrize("name", EVALUATORS)
def test_yields_its_own_finite_metric_twice_alike(
    name: str, inputs: EvaluationInput, integers: EvaluationInput
) -> None:
    evaluator = EVALUATORS[name]
    inputs = replace(integers if evaluator.refuses else inputs, target=device_profile("h7a3"))
    first, second = evaluator.evaluate(inputs), evaluator.evaluate(inputs)
    assert first.metric == evaluator.metric.name == name
    assert np.isfinite([first.value, first.spread]).all()
    assert 0 <= first.value <= evaluator.metric.highest
    assert first.how == evaluator.metric.how
    assert evaluator.metric.unit
    if first.how == "counted":
        assert (first.value, first.spread) == (second.value, 0.0)
    else:
        assert second.value == pytest.approx(first.value, rel=1.0)


@pytest.mark.parametrize("name", [n for n, e in EVALUATORS.items() if e.needs != "model"])
def test_says_what_it_lacks(name: str, inputs: EvaluationInput) -> None:
    with pytest.raises(EvaluationError, match=name):
        EVALUATORS[name].evaluate(EvaluationInput(inputs.model, SHAPE))


def test_macs_and_params_by_hand(inputs: EvaluationInput) -> None:
    dense, depthwise, linear = 64 * 3 * 4 * 9, 16 * 4 * 9, 4 * 2
    assert EVALUATORS["macs"].evaluate(inputs).value == dense + depthwise + linear
    assert EVALUATORS["params"].evaluate(inputs).value == 3 * 4 * 9 + 2 * 4 + (4 * 9 + 4) + (4 * 2 + 2)


def test_a_shared_layer_has_its_parameters_once_and_its_macs_twice() -> None:
    layer = nn.Linear(5, 5, bias=False)
    network = nn.Sequential(nn.Flatten(), layer, layer)
    shared = EvaluationInput(network, (1, 1, 5))
    assert EVALUATORS["params"].evaluate(shared).value == 25
    assert EVALUATORS["macs"].evaluate(shared).value == 50


def test_accuracy_by_hand(inputs: EvaluationInput) -> None:
    measured = EVALUATORS["accuracy"].evaluate(inputs)
    assert measured.value == 0.75
    assert measured.spread == pytest.approx(1.96 * (0.75 * 0.25 / 32) ** 0.5)


@pytest.mark.parametrize(("name", "file"), [("size_bytes", "packed"), ("onnx_bytes", "file")])
def test_size_is_the_length_of_the_file(name: str, file: str, inputs: EvaluationInput) -> None:
    path = getattr(inputs, file)
    assert isinstance(path, Path)
    assert EVALUATORS[name].evaluate(inputs).value == len(path.read_bytes())


def test_latency_of_the_reference_itself_is_the_reference(inputs: EvaluationInput) -> None:
    assert inputs.file is not None
    same = EvaluationInput(inputs.model, SHAPE, inputs.file, baseline=Baseline(inputs.file, SHAPE, 5.0))
    assert EVALUATORS["latency_ms"].evaluate(same).value == pytest.approx(5.0, rel=0.25)


REFUSING = [name for name, evaluator in EVALUATORS.items() if evaluator.refuses]


@pytest.mark.parametrize("name", REFUSING)
def test_a_candidate_that_cannot_have_the_metric_is_infeasible(name: str, inputs: EvaluationInput) -> None:
    assert inputs.file is not None
    candidate = replace(inputs, baseline=Baseline(inputs.file, SHAPE, 1.0))
    with pytest.raises(InfeasibleCandidate, match=rf"^{name}: no int8 TensorFlow Lite file: .*float32; allowed: "):
        EVALUATORS[name].evaluate(candidate)


@pytest.mark.parametrize("name", REFUSING)
def test_a_float_baseline_is_measured_in_int8(name: str, inputs: EvaluationInput, integers: EvaluationInput) -> None:
    baseline, own = (EVALUATORS[name].evaluate(given) for given in (inputs, integers))
    assert baseline.value == pytest.approx(own.value, rel=0.02)
    assert "in int8: the baseline itself is float32" in baseline.note
    assert "float32" not in own.note


def test_memory_of_a_microcontroller(integers: EvaluationInput) -> None:
    assert integers.file is not None
    model = tflite_model(integers.file.read_bytes())
    assert EVALUATORS["ram_bytes"].evaluate(integers).value == arena(model).total
    flash = EVALUATORS["flash_bytes"].evaluate(integers)
    assert (flash.value, flash.note) == (len(model), FILE_ALONE)
    board = device_profile("f746")
    beside = EVALUATORS["flash_bytes"].evaluate(replace(integers, target=board))
    assert (beside.value, beside.note) == (len(model) + board.engine_flash_bytes, "")


def test_another_npu_takes_another_number_of_cycles(integers: EvaluationInput) -> None:
    board = device_profile("ethos-u55")
    cycles = [
        EVALUATORS["npu_cycles"].evaluate(replace(integers, target=board.model_copy(update={"npu": npu})))
        for npu in ("ethos-u55-32", "ethos-u55-256")
    ]
    assert cycles[0].value > cycles[1].value
    assert cycles[0].device == "ethos-u55-32, by Vela"
