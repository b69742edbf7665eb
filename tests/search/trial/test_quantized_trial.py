"""Trials that quantise: fine-tuning only where it is asked for, and files that can be exported."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from test_trial import DIGITS, KNOBS, limit, plan_in
from torch import nn

from paredown.evaluators.build import rebuild
from paredown.evaluators.device import Device, this_device
from paredown.evaluators.files.names import MODEL_FILE, WEIGHTS_FILE
from paredown.evaluators.tasks.spec import load_task
from paredown.search.trial.plan import is_restructured
from paredown.search.trial.run_trial import run_trial
from paredown.spaces.candidate import Candidate
from paredown.spaces.knob import Knobs
from paredown.studies.errors import ExportRefused
from paredown.studies.exporters.exporter import ExportRequest
from paredown.studies.exporters.onnx import ONNX
from paredown.studies.front import Model
from paredown.studies.latency_remarks import Fp32Models, faster_in_fp32
from paredown.studies.model_folder.writing import write_model_folder
from paredown.studies.result import UNTRAINED_KEY

NARROW = {"weights": "mixed", "early": 4, "middle": 3, "late": 4}


def _candidate(knobs: Knobs) -> Candidate:
    return Candidate("mbconv", KNOBS, {"quantization": knobs})


@pytest.mark.parametrize("knobs", [NARROW, {"weights": "int8", "aware": False}])
def test_after_training_nothing_is_fine_tuned(knobs: Knobs, tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    assert not is_restructured(_candidate(knobs))
    assert plan.epochs(_candidate(knobs)) == plan.training.epochs
    result = run_trial(_candidate(knobs), plan)
    assert (result.outcome, result.reason) == ("done", "")
    assert len(result.curve) == plan.training.epochs
    assert "finetune" not in result.facts["seconds"]
    assert result.facts["skipped"] == {}


def test_int8_and_fp32_of_one_architecture_are_known_as_such_and_the_card_says_which_is_slower(tmp_path: Path) -> None:
    whole, rounded = Candidate("mbconv", KNOBS), _candidate({"weights": "int8", "aware": False})
    models = []
    for trial, (candidate, latency_ms) in enumerate(((whole, 1.0), (rounded, 2.0))):
        result = run_trial(candidate, plan_in(tmp_path / str(trial)))
        stored = replace(result.measurements["latency_ms"], value=latency_ms, spread=0.3 * trial)  # not what it took
        models.append(Model(trial, candidate, {**result.measurements, "latency_ms": stored}, result.artifact))
    baseline, model = models
    assert faster_in_fp32(model, Fp32Models(models)) == baseline
    artifact = tmp_path / "1" / model.artifact
    network, shape = rebuild(rounded, load_task(DIGITS), artifact / WEIGHTS_FILE)
    request = ExportRequest("s", model, baseline, load_task(DIGITS), network, shape, artifact, models=models)
    write_model_folder(request, ONNX, tmp_path / "m")
    said = (tmp_path / "m" / "README.md").read_text()
    assert "the same architecture in fp32 was measurably faster" in said
    assert "the latency is noisy" in said


@pytest.mark.parametrize(("saturates", "largest"), [(True, 63), (False, 127)])
def test_the_width_of_weights_follows_from_the_device_of_the_plan(
    saturates: bool, largest: int, tmp_path: Path
) -> None:
    plan = replace(plan_in(tmp_path), device=Device("Another processor", int8_sums_saturate=saturates))
    result = run_trial(_candidate({"weights": "int8"}), plan)
    assert (result.outcome, result.reason) == ("done", "")
    tensors = onnx.load(tmp_path / result.artifact / MODEL_FILE).graph.initializer
    weights = [numpy_helper.to_array(t) for t in tensors if t.data_type == TensorProto.INT8 and len(t.dims) > 1]
    assert max(int(np.abs(values).max()) for values in weights) == largest
    assert result.measurements["latency_ms"].device == str(this_device()), "measured where it ran"


def test_an_aware_trial_is_fine_tuned_and_its_file_is_the_network(tmp_path: Path) -> None:
    candidate = _candidate(NARROW | {"aware": True, "max_drop": 0.0})
    plan = plan_in(tmp_path)
    plan = replace(plan, training=replace(plan.training, epochs=8, finetune_epochs=3))
    result = run_trial(candidate, plan)
    assert (result.outcome, result.reason) == ("done", "")
    assert len(result.curve) == plan.epochs(candidate) == 11
    task = load_task(DIGITS)
    artifact = tmp_path / result.artifact
    network, shape = rebuild(candidate, task, artifact / WEIGHTS_FILE)
    model = Model(1, candidate, result.measurements, result.artifact)
    request = ExportRequest("s", model, replace(model, trial=0), task, network, shape, artifact)
    write_model_folder(request, ONNX, tmp_path / "m")
    other = _candidate(NARROW | {"early": 2, "middle": 2, "late": 2})
    wrong = replace(request, network=_shuffled(network), model=replace(model, candidate=other))
    with pytest.raises(ExportRefused, match=r"needed for mixed: 90\.0%; try, of quantization: aware=true"):
        write_model_folder(wrong, ONNX, tmp_path / "w")


def _shuffled(network: nn.Module) -> nn.Module:
    changed = copy.deepcopy(network)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.copy_(parameter[torch.randperm(len(parameter))])
    return changed


def test_the_untrained_file_has_the_bytes_of_the_trained_one(tmp_path: Path) -> None:
    knobs = NARROW | {"calibration": "entropy", "max_drop": 0.5}
    result = run_trial(_candidate(knobs), plan_in(tmp_path, limit("size_bytes", 1e9)))
    assert result.outcome == "done"
    reverted = len(result.facts["skipped"].get("quantization", {}))
    known, measured = result.facts[UNTRAINED_KEY]["size_bytes"], result.measurements["size_bytes"].value
    assert measured > known * 1.02 if reverted else measured == pytest.approx(known, rel=0.02)
