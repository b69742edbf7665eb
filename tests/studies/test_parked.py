"""Trials that a device has still to measure: nothing of them is lost, and nothing is made up."""

from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState
from toy_study import let_leases_lapse, open_study, outcome, run, sample

from paredown.evaluators.metrics.measurement import Measurement
from paredown.studies.result import CAUSE, MEASURED_BY, PARKED, TrialResult
from paredown.studies.study import Study

LATE = Measurement("size_bytes", 300.0, 1.0, "measured", "pi4 (here)", "p90 1 ms")
"""What comes late: here it is the size, which the toy study optimises."""


def park_one(study: Study) -> int:
    """Ask for a trial, and tell a result without one of its objectives."""
    while (asked := study.ask(sample)) is None:
        pass
    whole = outcome(asked.candidate)
    known = {name: m for name, m in whole.measurements.items() if name != "size_bytes"}
    told = study.tell(asked.number, replace(whole, outcome=PARKED, reason="it waits", measurements=known))
    assert told is not None
    assert told.outcome == PARKED
    return asked.number


def test_a_parked_trial_is_no_model_and_runs_for_samplers(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    run(study, 1)
    number = park_one(study)
    assert study.counts() == {"done": 1, "parked": 1}
    assert [model.trial for model in study.models()] == [0]
    assert [trial.state for trial in study._study.trials] == [TrialState.COMPLETE, TrialState.RUNNING]
    assert list(study.parked()) == [number]
    assert study.parked()[number].artifact == "trials/x"


def test_it_outlives_its_search_and_is_not_trained_again(tmp_path: Path) -> None:
    first = open_study(tmp_path)
    run(first, 1)
    number = park_one(first)
    let_leases_lapse(first)
    second = open_study(tmp_path, seed=1)
    assert second.recover() == 0
    second.leave()
    assert list(second.parked()) == [number]
    asked = second.ask(sample)
    assert asked is None or asked.number != number


def test_a_measurement_completes_it_once(tmp_path: Path) -> None:
    study = open_study(tmp_path, limit=1000.0)
    run(study, 1)
    number = park_one(study)
    finished_at = study.rows()[number]["facts"]
    result = study.complete(number, {"size_bytes": LATE}, "a node")
    assert result is not None
    assert result.outcome == "done"
    assert result.curve == ((0, {"loss": 1.0}), (1, {"loss": 0.5}))
    assert result.facts == {**finished_at, MEASURED_BY: "a node", "notes": {"size_bytes": "p90 1 ms"}}
    model = study.models()[-1]
    assert (model.trial, model.feasible, model.measurements["size_bytes"]) == (number, True, LATE)
    assert study._study.trials[number].values == [model["accuracy"], 300.0]
    assert study._study.trials[number].constraints == {"size_bytes": pytest.approx(-0.7)}
    assert study.complete(number, {"size_bytes": LATE}, "another search") is None
    assert study.refuse(number, "too late", "killed") is None
    assert study.park(number, "too late") is None


def test_a_search_that_is_killed_between_both_tables_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = open_study(tmp_path)
    run(study, 1)
    number = park_one(study)
    with monkeypatch.context() as patch:

        def killed(*arguments: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(Study, "_finish", killed)
        with pytest.raises(KeyboardInterrupt):
            study.complete(number, {"size_bytes": LATE})
    assert study._study.trials[number].state == TrialState.RUNNING
    open_study(tmp_path, seed=1).recover()
    assert study._study.trials[number].state == TrialState.COMPLETE


def test_one_that_cannot_be_measured_fails_and_can_be_retried(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    run(study, 1)
    number = park_one(study)
    result = study.refuse(number, "pi4: no such operator", "exception")
    assert result is not None
    assert (result.outcome, result.facts[CAUSE]) == ("failed", "exception")
    assert study.counts() == {"done": 1, "failed": 1}
    assert study._study.trials[number].state == TrialState.FAIL
    assert list(study.retry(lambda candidate: candidate.knobs)) == [number]


def test_a_value_that_is_no_number_fails_it(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    run(study, 1)
    number = park_one(study)
    result = study.complete(number, {"size_bytes": replace(LATE, value=float("nan"))})
    assert result is not None
    assert result.outcome == "failed"
    assert result.reason == "size_bytes is nan"


def test_a_parked_trial_is_spent_and_its_network_known(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    run(study, 1)
    number = park_one(study)
    candidate = study.parked()[number].candidate
    knobs = dict(candidate.knobs)
    place = study.put_in_line(candidate, knobs)
    assert (place.number, place.state) == (number, PARKED)
    assert study.ask(sample, budget=2) is None
    again = study.park(number, "away")
    assert again is not None
    assert TrialResult.from_json(again.to_json()) == again
    assert again.reason == study.rows()[number]["reason"] == "away"
