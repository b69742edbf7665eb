"""Trials for a microcontroller: who has no file for it or too large an arena is rejected before training."""

from dataclasses import replace
from pathlib import Path

import pytest

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.evaluation_input import Baseline
from paredown.evaluators.metrics.measurement import Objective
from paredown.evaluators.tasks.spec import TaskSpec
from paredown.evaluators.training.fit import TrainingPlan
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial.run_trial import run_trial
from paredown.spaces.candidate import Candidate
from paredown.studies.result import UNTRAINED_KEY, TrialResult

KNOBS = {
    **{"scaling": "free", "depth": 1.0, "width": 0.75, "resolution": 8},
    **{"kernel": 3, "expansion": 2, "squeeze_excite": False, "activation": "relu"},
}
FLOAT = Candidate("mbconv", KNOBS)
INT8 = Candidate("mbconv", KNOBS, {"quantization": {"weights": "int8", "activations": "uint8"}})
MEMORY = ("ram_bytes", "flash_bytes")


def plan_in(folder: Path, **limits: float) -> TrialPlan:
    names = ("accuracy", *MEMORY)
    objectives = tuple(Objective(EVALUATORS[name].metric, True, limits.get(name)) for name in names)
    training = TrainingPlan(epochs=2, finetune_epochs=1, learning_rate=6e-3)
    return TrialPlan(TaskSpec("digits", "{}", Path()), objectives, training, folder, threads=1)


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> tuple[Baseline, TrialResult]:
    folder = tmp_path_factory.mktemp("study")
    result = run_trial(FLOAT, plan_in(folder))
    assert result.outcome == "done", result.reason
    return Baseline(folder / result.artifact / "model.onnx", (1, 8, 8), 1.0), result


def after(baseline: tuple[Baseline, TrialResult], plan: TrialPlan) -> TrialPlan:
    return replace(plan, baseline=baseline[0])


def test_the_float_baseline_has_the_values_of_its_int8_form(baseline: tuple[Baseline, TrialResult]) -> None:
    notes = baseline[1].facts["notes"]
    assert all("in int8: the baseline itself is float32" in notes[name] for name in MEMORY)


def test_a_float_candidate_is_rejected_before_training(baseline: tuple[Baseline, TrialResult], tmp_path: Path) -> None:
    result = run_trial(FLOAT, after(baseline, plan_in(tmp_path)))
    assert result.outcome == "rejected"
    assert result.reason.startswith("ram_bytes: no int8 TensorFlow Lite file: ")
    assert "allowed: quantization.weights int8" in result.reason
    assert "train" not in result.facts["seconds"]


@pytest.mark.parametrize("name", MEMORY)
def test_a_limit_on_memory_rejects_before_training(
    name: str, baseline: tuple[Baseline, TrialResult], tmp_path: Path
) -> None:
    result = run_trial(INT8, after(baseline, plan_in(tmp_path, **{name: 2000})))
    assert result.outcome == "rejected"
    assert result.reason == f"{name} {result.measurements[name].value:g} B is above the limit 2000"
    assert "train" not in result.facts["seconds"]


def test_memory_is_the_same_before_and_after_training(baseline: tuple[Baseline, TrialResult], tmp_path: Path) -> None:
    result = run_trial(INT8, after(baseline, plan_in(tmp_path, ram_bytes=100_000)))
    assert result.outcome == "done", result.reason
    for name in MEMORY:
        assert result.measurements[name].value == pytest.approx(result.facts[UNTRAINED_KEY][name], rel=0.01)
    assert result.measurements["ram_bytes"].value == pytest.approx(
        baseline[1].measurements["ram_bytes"].value, rel=0.01
    )
