"""One trial, really: digits, a minimal network, two epochs."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from paredown.evaluators.build import rebuild
from paredown.evaluators.errors import TrialInterrupted
from paredown.evaluators.files.names import MODEL_FILE, PACKED_FILE, TEACHER_FILE, WEIGHTS_FILE
from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.evaluation_input import Baseline
from paredown.evaluators.metrics.measurement import Objective
from paredown.evaluators.packing.container import unpack
from paredown.evaluators.tasks.spec import TaskSpec, load_task
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.fit import TrainingPlan
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial.pretraining import Pretraining
from paredown.search.trial.run_trial import check_untrained, run_trial
from paredown.search.trial.training_stages import TrainingStages, finetune_rate
from paredown.spaces.candidate import Candidate
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.knob import Value
from paredown.studies.result import STOPPED_KEY, UNTRAINED_KEY, TrialResult

DIGITS = TaskSpec("digits", "{}", Path())
KNOBS = {
    "scaling": "free",
    "depth": 1.0,
    "width": 0.75,
    "resolution": 8,
    "kernel": 3,
    "expansion": 2,
    "squeeze_excite": False,
    "activation": "relu",
}
SMALL = Candidate("mbconv", KNOBS)
PREDICTED = {"device_latency_ms", "device_energy_uj"}
"""Metrics that only studies with a device have."""
ON_DEMAND = {"throughput_ips", "cold_start_ms", "peak_activation_bytes", "bit_ops"}
REFUSING = {name for name, evaluator in EVALUATORS.items() if evaluator.refuses} | ON_DEMAND
"""Metrics that are measured only where a study asks for them."""
OBJECTIVES = tuple(Objective(EVALUATORS[name].metric) for name in ("accuracy", "size_bytes"))


def plan_in(folder: Path, *limits: Objective, spec: TaskSpec = DIGITS, rate: float = 6e-3) -> TrialPlan:
    training = TrainingPlan(epochs=2, finetune_epochs=1, learning_rate=rate)
    return TrialPlan(spec, OBJECTIVES + limits, training, folder, threads=1)


def limit(metric: str, value: float) -> Objective:
    return Objective(EVALUATORS[metric].metric, optimised=False, limit=value)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrialPlan, TrialResult]:
    """A folder in which the baseline has run, and what it came to."""
    plan = plan_in(tmp_path_factory.mktemp("study"))
    return plan, run_trial(SMALL, plan)


def with_baseline(study: tuple[TrialPlan, TrialResult], teacher_of: Path | None = None) -> TrialPlan:
    plan, result = study
    latency = result.measurements["latency_ms"].value
    return dataclasses.replace(
        plan, baseline=Baseline((teacher_of or plan.folder / result.artifact) / MODEL_FILE, (1, 8, 8), latency)
    )


def test_a_trial_measures_everything_and_keeps_its_files(study: tuple[TrialPlan, TrialResult]) -> None:
    plan, result = study
    assert (result.outcome, result.reason) == ("done", "")
    assert set(result.measurements) == set(EVALUATORS) - {"exit_rate", *PREDICTED} - REFUSING
    assert result.measurements["accuracy"].value > 0.2, "it learns more than chance"
    files = {p.name: p for p in (plan.folder / result.artifact).iterdir()}
    assert set(files) == {MODEL_FILE, PACKED_FILE, WEIGHTS_FILE, TEACHER_FILE}
    assert files[MODEL_FILE].stat().st_size == result.measurements["onnx_bytes"].value
    assert files[PACKED_FILE].stat().st_size == result.measurements["size_bytes"].value
    assert unpack(files[PACKED_FILE].read_bytes()) == files[MODEL_FILE].read_bytes()
    assert [epoch for epoch, _ in result.curve] == [0, 1]
    assert {"build", "train", "export", "measure"} <= set(result.facts["seconds"])
    assert not list((plan.folder / "trials").glob(".new-*"))


def test_the_same_candidate_comes_to_the_same(study: tuple[TrialPlan, TrialResult], tmp_path: Path) -> None:
    again = run_trial(SMALL, plan_in(tmp_path))
    for name in ("accuracy", "size_bytes", "macs", "params"):
        assert again.measurements[name].value == study[1].measurements[name].value
    assert again.curve == study[1].curve


@pytest.mark.parametrize("metric", ["macs", "params", "size_bytes", "peak_activation_bytes", "bit_ops"])
def test_a_known_limit_rejects_before_training(
    metric: str, study: tuple[TrialPlan, TrialResult], tmp_path: Path
) -> None:
    plan = dataclasses.replace(with_baseline(study), folder=tmp_path)
    result = run_trial(SMALL, dataclasses.replace(plan, objectives=(*plan.objectives, limit(metric, 500))))
    assert result.outcome == "rejected"
    assert f"{metric} " in result.reason
    assert "is above the limit 500" in result.reason
    assert "train" not in result.facts["seconds"]
    assert result.curve == ()
    assert result.measurements[metric].value > 500
    assert not (tmp_path / "trials").exists()


def test_a_limit_that_is_kept_changes_nothing(study: tuple[TrialPlan, TrialResult], tmp_path: Path) -> None:
    result = run_trial(SMALL, plan_in(tmp_path, limit("macs", 1e9), limit("size_bytes", 1e9)))
    assert result.outcome == "done"
    assert result.measurements["accuracy"].value == study[1].measurements["accuracy"].value


def test_a_trial_over_its_time_fails(tmp_path: Path) -> None:
    result = run_trial(SMALL, dataclasses.replace(plan_in(tmp_path), timeout_s=1e-3))
    assert result.outcome == "failed"
    assert result.reason.startswith("timeout: ")
    assert result.facts["cause"] == "timeout"
    assert result.curve == (), "it ends at a batch, not at the end of an epoch"


def test_a_judged_trial_tells_its_costs_and_may_be_stopped(tmp_path: Path) -> None:
    told: list[dict[str, float]] = []

    def stop_at_the_second(epoch: int, metrics: dict[str, float]) -> str:
        told.append(metrics)
        return "not among the best" if epoch == 1 else ""

    pruned = Candidate("mbconv", KNOBS, {"channel_pruning": {"ratio": 0.25}})
    result = run_trial(pruned, dataclasses.replace(plan_in(tmp_path), judged=True), stop_at_the_second)
    assert (result.outcome, result.reason, result.artifact) == ("stopped", "not among the best", "")
    size = result.measurements["size_bytes"].value
    assert [m["size_bytes"] for m in told] == [size, size]
    assert "macs" not in told[0], "it is no objective"
    assert (
        set(result.measurements)
        == set(result.facts[UNTRAINED_KEY])
        == set(EVALUATORS) - {"accuracy", "exit_rate", *PREDICTED} - REFUSING
    )
    assert [epoch for epoch, _ in result.curve] == [0, 1]
    last = result.curve[1][1]["accuracy"]
    assert last == told[1]["accuracy"]
    assert result.facts[STOPPED_KEY] == {"share": pytest.approx(2 / 3), "value": last}, "2 epochs and 1 of fine-tuning"
    assert not (tmp_path / "trials").exists()


def test_a_trial_that_is_not_judged_measures_no_file_before_training(tmp_path: Path) -> None:
    told: list[dict[str, float]] = []

    def interrupt(epoch: int, metrics: dict[str, float]) -> str:
        told.append(metrics)
        raise TrialInterrupted("the search has ended")

    with pytest.raises(TrialInterrupted):
        run_trial(SMALL, plan_in(tmp_path), interrupt)
    assert set(told[0]) == {"loss", "accuracy", "validation_loss"}


def test_distillation_learns_from_the_baselines_logits(study: tuple[TrialPlan, TrialResult], tmp_path: Path) -> None:
    taught = Candidate("mbconv", KNOBS, {"distillation": {"weight": 0.9, "temperature": 1}})
    plan = with_baseline(study)
    assert plan.baseline is not None
    teacher = load_file(plan.baseline.folder / TEACHER_FILE)["logits"]
    assert teacher.shape == (len(load_task(DIGITS).load("train", 8).labels), 10)
    (tmp_path / MODEL_FILE).write_bytes(plan.baseline.file.read_bytes())
    save_file({"logits": np.ascontiguousarray(np.roll(20 * teacher, 1, axis=1))}, tmp_path / TEACHER_FILE)

    right, wrong = run_trial(taught, plan), run_trial(taught, with_baseline(study, tmp_path))
    assert right.outcome == wrong.outcome == "done"
    assert right.curve != study[1].curve
    assert right.measurements["accuracy"].value > wrong.measurements["accuracy"].value + 0.1


REBUILT: dict[str, dict[str, dict[str, Value]]] = {
    "plain": {},
    "pruned": {"channel_pruning": {"ratio": 0.25}},
    "global": {"channel_pruning": {"ratio": 0.375, "scope": "global", "importance": "taylor", "multiple": 1}},
    "shallow": {"layer_pruning": {"ratio": 0.5, "criterion": "loss"}},
    "grouped": {"grouped_convolution": {"groups": 2}},
    "energy": {"low_rank": {"ratio": 0.875, "rule": "energy", "energy": 0.8, "kernel": "spatial"}},
    "stripes": {"stripe_pruning": {"ratio": 0.5, "axis": "channel"}},
}


@pytest.mark.parametrize("steps", REBUILT.values(), ids=REBUILT)
def test_a_rebuilt_network_gives_what_its_file_gives(
    study: tuple[TrialPlan, TrialResult], steps: dict[str, dict[str, Value]]
) -> None:
    candidate, plan = Candidate("mbconv", KNOBS, steps), with_baseline(study)
    result = run_trial(candidate, plan)
    assert result.outcome == "done", result.reason
    task, artifact = load_task(DIGITS), plan.folder / result.artifact
    network, shape = rebuild(candidate, task, artifact / WEIGHTS_FILE)
    data = TrainingData.of(task, shape[1])
    images = data.normalise(data.validation.images)
    with torch.inference_mode():
        outputs = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(outputs, logits(open_session(artifact / MODEL_FILE), images), atol=1e-3)
    if not steps:
        return
    if "stripe_pruning" in steps:
        assert (network.get_parameter("stem.conv.weight") == 0).sum() == 0
        zeros = [(p == 0).float().mean().item() for p in network.parameters() if p.ndim == 4 and p.shape[1] > 1]
        assert min(zeros) == pytest.approx(0.5, abs=0.02)
    else:
        assert result.measurements["params"].value < study[1].measurements["params"].value
    assert {"compress", "finetune"} <= set(result.facts["seconds"])


def test_a_loss_that_is_not_finite_fails(tmp_path: Path) -> None:
    result = run_trial(SMALL, plan_in(tmp_path, rate=1e30))
    assert result.outcome == "failed"
    assert "loss of epoch 0 is nan" in result.reason


BROKEN_TASK = """
import numpy as np

def data():
    rng = np.random.default_rng(0)
    split = lambda: (rng.random((20, 8, 8)) * np.nan, np.arange(20) % 2)
    return {name: split() for name in ("train", "validation", "test")}
"""


def test_a_task_of_nan_fails_and_does_not_raise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "task_of_nan.py").write_text(BROKEN_TASK)
    spec = TaskSpec("python", '{"function": "task_of_nan:data"}', tmp_path)
    result = run_trial(SMALL, plan_in(tmp_path, spec=spec))
    assert result.outcome == "failed"
    assert "not finite" in result.reason


def test_a_bug_in_a_trial_fails_with_its_place(tmp_path: Path) -> None:
    result = run_trial(Candidate("mbconv", {k: v for k, v in KNOBS.items() if k != "kernel"}), plan_in(tmp_path))
    assert result.outcome == "failed"
    assert result.reason.startswith("KeyError: 'kernel' (mbconv.py:")
    assert "Traceback" in result.facts["traceback"]


def test_costs_that_are_known_are_not_measured_again(tmp_path: Path) -> None:
    plan = dataclasses.replace(plan_in(tmp_path, limit("onnx_bytes", 1000.0)), awaits_baseline=True)
    none = {"macs": 1.0, "params": 1.0}
    with pytest.raises(InfeasibleCandidate):
        check_untrained(SMALL, dataclasses.replace(plan, counted=tuple(none.items())))
    known = none | {"size_bytes": 10.0, "onnx_bytes": 900.0}
    check_untrained(SMALL, dataclasses.replace(plan, counted=tuple(known.items())))
    with pytest.raises(InfeasibleCandidate, match="onnx_bytes 1100 B is above"):
        check_untrained(SMALL, dataclasses.replace(plan, counted=tuple((known | {"onnx_bytes": 1100.0}).items())))


@pytest.mark.parametrize(
    ("left", "before", "rate"), [(0.44, 0.9, 1.0), (0.45, 0.9, 0.5), (0.9, 0.9, 0.5), (0.0, 0.0, 0.5)]
)
def test_a_broken_network_is_fine_tuned_at_the_full_rate(left: float, before: float, rate: float) -> None:
    assert finetune_rate(left, before) == rate


def test_fine_tuning_takes_the_rate_of_what_it_begins_with(tmp_path: Path) -> None:
    pruned = dataclasses.replace(SMALL, steps={"channel_pruning": {"ratio": 0.25}})
    task = load_task(DIGITS)
    data = TrainingData.of(task, 8)

    def weights(rate: float, before: float) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        model = FAMILIES["mbconv"].build(KNOBS, (1, 8, 8), len(task.classes))
        stages = TrainingStages(pruned, plan_in(tmp_path, rate=rate), (1, 8, 8), data, lambda epoch, metrics: "")
        compressed = stages.compress(model)
        stages.finetune(compressed, Pretraining(0, 0.0, before), lambda network, data, first_epoch: 0.3)
        return dict(compressed.network.state_dict())

    works, broken, twice = weights(6e-3, before=0.4), weights(6e-3, before=0.9), weights(12e-3, before=0.4)
    assert all(torch.equal(broken[name], twice[name]) for name in broken), "the whole rate is twice the half"
    assert not all(torch.equal(broken[name], works[name]) for name in broken)
