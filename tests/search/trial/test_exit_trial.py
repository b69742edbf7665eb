"""A trial with exits from training to further points, and what its files give."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from paredown.evaluators.build import rebuild
from paredown.evaluators.files.exit_runtime import BatchRuntime
from paredown.evaluators.files.names import MODEL_FILE, WEIGHTS_FILE
from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.evaluation_input import Baseline
from paredown.evaluators.metrics.measurement import Objective
from paredown.evaluators.tasks.spec import TaskSpec, load_task
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.fit import TrainingPlan
from paredown.search.trial.exit_settings import best_settings, taken, with_setting
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial.run_trial import run_trial
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.early_exit import rule_of
from paredown.spaces.exits.network import MultiExit
from paredown.spaces.exits.rules import ExitRule
from paredown.studies.result import TrialResult

DIGITS = TaskSpec("digits", "{}", Path())
KNOBS = {
    "scaling": "free",
    "depth": 1.0,
    "width": 1.0,
    "resolution": 16,
    "kernel": 3,
    "expansion": 2,
    "squeeze_excite": False,
    "activation": "relu",
}
EXITS = {"exits": 1, "after": "", "head": "convolution", "rule": "confidence", "threshold": 0.7, "weight": 1.0}
STEPS = {"early_exit": EXITS, "channel_pruning": {"ratio": 0.25}, "quantization": {"weights": "fp16"}}
THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrialPlan, TrialResult]:
    folder = tmp_path_factory.mktemp("study")
    objectives = tuple(Objective(EVALUATORS[name].metric) for name in ("accuracy", "latency_ms", "size_bytes"))
    training = TrainingPlan(epochs=3, finetune_epochs=1, learning_rate=6e-3)
    plan = TrialPlan(DIGITS, objectives, training, folder, threads=1)
    baseline = run_trial(Candidate("mbconv", KNOBS), plan)
    reference = Baseline(
        folder / baseline.artifact / MODEL_FILE, (1, 16, 16), baseline.measurements["latency_ms"].value
    )
    plan = dataclasses.replace(plan, baseline=reference, swept=(("threshold", THRESHOLDS),))
    return plan, run_trial(Candidate("mbconv", KNOBS, STEPS), plan)


def test_a_trial_with_exits_says_where_they_stand_and_who_leaves(trial: tuple[TrialPlan, TrialResult]) -> None:
    _, result = trial
    assert (result.outcome, result.reason) == ("done", "")
    exits = result.facts["exits"]
    assert len(exits["after"]) == 1
    assert sum(exits["rates"]) == pytest.approx(1, abs=1e-3)
    assert exits["macs"][0] < exits["macs"][1]
    expected = sum(rate * macs for rate, macs in zip(exits["rates"], exits["macs"], strict=True))
    assert result.measurements["macs"].value == pytest.approx(expected, rel=1e-3)
    assert result.measurements["exit_rate"].value == pytest.approx(exits["rates"][0], abs=1e-3)


def test_further_thresholds_have_files_of_their_own(trial: tuple[TrialPlan, TrialResult]) -> None:
    plan, result = trial
    assert 1 <= len(result.derived) <= 4
    folders = {plan.folder / one.artifact for one in (result, *result.derived)}
    assert len(folders) == 1 + len(result.derived)
    task = load_task(DIGITS)
    for one in result.derived:
        changed = one.changed["early_exit.threshold"]
        assert changed in THRESHOLDS
        assert one.candidate.steps["early_exit"] == {**EXITS, "threshold": changed}
        assert set(one.measurements) == set(result.measurements)
        file = plan.folder / one.artifact / MODEL_FILE
        network, shape = rebuild(one.candidate, task, plan.folder / one.artifact / WEIGHTS_FILE)
        assert isinstance(network, MultiExit)
        assert network.rule.thresholds == BatchRuntime(file).plan.thresholds == (changed,)
        data = TrainingData.of(task, shape[1])
        images = data.normalise(data.validation.images)
        with torch.inference_mode():
            labels = network(torch.from_numpy(images)).argmax(1).numpy()
        from_file = logits(open_session(file), images).argmax(1)
        assert (labels == from_file).mean() > 0.97, "fp16"
        assert one.measurements["accuracy"].value == pytest.approx((from_file == data.validation.labels).mean())


def test_exits_that_cannot_be_are_rejected_before_training(trial: tuple[TrialPlan, TrialResult]) -> None:
    plan, _ = trial
    for knobs, said in (({"after": "layer9"}, "'layer9'"), ({"exits": 3}, "3 exits are more than the 2 places")):
        result = run_trial(Candidate("mbconv", KNOBS, {"early_exit": EXITS | knobs}), plan)
        assert result.outcome == "rejected"
        assert said in result.reason
        assert "train" not in result.facts["seconds"]


def test_the_sweep_keeps_what_nothing_beats_and_one_of_those_that_decide_alike() -> None:
    odds = np.array([[0.55, 0.45], [0.65, 0.35], [0.75, 0.25], [0.95, 0.05]], np.float32)
    first, last = np.log(odds), np.log(np.array([[0.1, 0.9]] * 2 + [[0.9, 0.1]] * 2, np.float32))
    labels = np.array([1, 1, 0, 0])
    own = {**EXITS, "threshold": 0.99}
    assert taken(ExitRule("confidence", (0.7,)), [first, last]).tolist() == [1, 1, 0, 0]
    kept = best_settings(own, {"threshold": [0.5, 0.6, 0.7, 0.71, 0.9]}, [first, last], labels, [10, 100])
    # accuracy and MACs: 0.5: 0.5, 10; 0.6: 0.75, 32.5; 0.7 and 0.71: 1, 55; 0.9: 1, 77.5; 0.99: 1, 100
    assert kept == [{"threshold": 0.5}, {"threshold": 0.6}, {"threshold": 0.7}]
    patient = {**own, "rule": "patience"}
    assert best_settings(patient, {"threshold": [0.5]}, [first, last], labels, [10, 100]) == []
    many = [round(0.5 + i / 100, 2) for i in range(40)]
    spread = np.column_stack([np.linspace(0.5, 0.9, 40), np.linspace(0.5, 0.1, 40)]).astype(np.float32)
    right = np.log(np.array([[0.9, 0.1]] * 40, np.float32))
    wrong = np.zeros(40, np.int64)
    wrong[:20] = 1
    assert len(best_settings(own, {"threshold": many}, [np.log(spread), right * -1], wrong, [10, 100])) <= 4


def test_the_sweep_gives_each_of_two_exits_its_own_threshold() -> None:
    sure, unsure = [0.9, 0.1], [0.6, 0.4]
    first = np.log(np.array([sure, sure, unsure, unsure], np.float32))  # right where it is sure
    second = np.log(np.array([unsure] * 4, np.float32))  # always right, never sure
    last = second
    labels = np.array([0, 0, 1, 1])
    second[2:], last[2:] = second[2:, ::-1].copy(), last[2:, ::-1].copy()
    own = {**EXITS, "exits": 2, "threshold": 0.95, "first_margin": 0.0}
    swept = {"threshold": [0.5, 0.85], "first_margin": [0.0, 0.3]}
    kept = best_settings(own, swept, [first, second, last], labels, [10, 20, 100])
    # all at the first: half right, 10; the sure ones at the first, the others at the second: all right, 15
    assert kept == [{"threshold": 0.5, "first_margin": 0.0}, {"threshold": 0.5, "first_margin": 0.3}]
    with_both = with_setting(Candidate("mbconv", KNOBS, {"early_exit": own}), kept[1])
    assert rule_of(with_both.steps["early_exit"]).thresholds == (0.8, 0.5)
    one = {name: value for name, value in own.items() if name != "first_margin"} | {"exits": 1}
    assert best_settings(one, swept, [first, last], labels, [10, 100]) == [{"threshold": 0.5}, {"threshold": 0.85}]
