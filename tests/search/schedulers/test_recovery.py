"""A compressed network that no trial of the study recovered from is stopped; what recovered before goes on."""

import dataclasses
from pathlib import Path

import pytest

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.measurement import Measurement, Objective
from paredown.evaluators.tasks.spec import TaskSpec
from paredown.evaluators.training.fit import TrainingPlan
from paredown.search.schedulers.recovery import COMPRESSED_KEY, Recovery
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial.run_trial import run_trial
from paredown.spaces.candidate import Candidate
from paredown.studies.result import STOPPED_KEY

LIMIT = 0.95
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
PRUNED = Candidate("mbconv", KNOBS, {"channel_pruning": {"ratio": 0.5}})


def learned(*trials: tuple[float, float, float]) -> Recovery:
    recovery = Recovery()
    for start, after_epoch, final in trials:
        facts = {COMPRESSED_KEY: {"accuracy": start, "first_epoch": after_epoch}}
        recovery.learn(facts, {"accuracy": Measurement("accuracy", final)})
    return recovery


GOOD = [(0.4, 0.9, 0.96), (0.6, 0.93, 0.97), (0.9, 0.95, 0.98), (0.7, 0.94, 0.945)]
BAD = [(0.1, 0.5, 0.8), (0.15, 0.6, 0.85), (0.2, 0.7, 0.9), (0.3, 0.95, 0.93)]


def test_the_limit_is_below_the_lowest_start_that_recovered() -> None:
    after_compression, after_epoch = learned(*GOOD, *BAD).least_accuracy(LIMIT)
    assert after_compression == pytest.approx(0.4 - 0.02)
    assert after_epoch == 0.0, "three of four began lower: too few to say"


def test_nothing_is_stopped_before_several_trials_show_both() -> None:
    assert Recovery().least_accuracy(LIMIT) == (0.0, 0.0)
    assert learned(*GOOD[:3], *BAD).least_accuracy(LIMIT) == (0.0, 0.0), "three recovered"
    assert learned(*GOOD, *BAD[:3]).least_accuracy(LIMIT) == (0.0, 0.0), "three did not"
    assert learned(*BAD, *BAD).least_accuracy(LIMIT) == (0.0, 0.0), "none recovered: the limit is out of reach so far"


def test_a_trial_that_was_not_compressed_shows_nothing() -> None:
    recovery = learned(*GOOD, *BAD)
    before = recovery.least_accuracy(LIMIT)
    recovery.learn({}, {"accuracy": Measurement("accuracy", 0.99)})
    assert recovery.least_accuracy(LIMIT) == before


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> TrialPlan:
    objectives = tuple(Objective(EVALUATORS[name].metric) for name in ("accuracy", "size_bytes"))
    training = TrainingPlan(epochs=2, finetune_epochs=2, learning_rate=6e-3)
    return TrialPlan(TaskSpec("digits", "{}", Path()), objectives, training, tmp_path_factory.mktemp("recovering"))


def test_a_hopeless_trial_stops_right_after_compression(plan: TrialPlan) -> None:
    result = run_trial(PRUNED, dataclasses.replace(plan, least_accuracy=(1.01, 0.0)))
    assert result.outcome == "stopped"
    assert result.reason.startswith("stopped right after compression: accuracy 0.")
    start = result.facts[COMPRESSED_KEY]["accuracy"]
    assert result.facts[STOPPED_KEY]["value"] == start, "not that of the network before"
    assert len(result.curve) == plan.training.epochs


def test_a_hopeless_trial_stops_after_its_first_epoch(plan: TrialPlan) -> None:
    result = run_trial(PRUNED, dataclasses.replace(plan, least_accuracy=(0.0, 1.01)))
    assert result.outcome == "stopped"
    assert "after the first epoch of fine-tuning" in result.reason
    assert len(result.curve) == plan.training.epochs + 1
    assert result.facts[STOPPED_KEY]["value"] == result.curve[-1][1]["accuracy"]


def test_a_trial_above_the_limit_goes_on_and_shows_where_it_stood(plan: TrialPlan) -> None:
    result = run_trial(PRUNED, dataclasses.replace(plan, least_accuracy=(0.0, 0.0)))
    assert result.outcome == "done", result.reason
    seen = result.facts[COMPRESSED_KEY]
    assert seen["first_epoch"] == result.curve[plan.training.epochs][1]["accuracy"]
    one = dataclasses.replace(plan.training, finetune_epochs=1)
    last = run_trial(PRUNED, dataclasses.replace(plan, training=one, least_accuracy=(0.0, 1.01)))
    assert last.outcome == "done", "after its only epoch it is at its end"
