"""Odd results: refused before anything of them is stored, so that no study becomes unreadable."""

import math
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from toy_study import BASELINE, objectives, open_study, outcome, run, sample

from paredown.evaluators.metrics.measurement import Measurement
from paredown.studies.checking import checked
from paredown.studies.result import Derived, TrialResult
from paredown.studies.selection import best_models

GOOD = outcome(BASELINE)


def measured(**values: Any) -> TrialResult:
    changed = {name: Measurement(name, value) for name, value in values.items()}
    return replace(GOOD, measurements={**GOOD.measurements, **changed})


ODD: dict[str, tuple[Any, str]] = {
    "nothing": (None, "the trial returned None in place of a result"),
    "text": ("0.9", "the trial returned '0.9' in place of a result"),
    "an unknown outcome": (replace(GOOD, outcome="fine"), "the outcome is 'fine'; allowed: done, rejected, failed"),
    "no objective": (replace(GOOD, measurements={}), "the result has no accuracy"),
    "one objective": (
        replace(GOOD, measurements={"accuracy": GOOD.measurements["accuracy"]}),
        "the result has no size_bytes",
    ),
    "a value of None": (measured(accuracy=None), "accuracy is None"),
    "a value of text": (measured(size_bytes="12 kB"), "size_bytes is '12 kB'"),
    "a truth value": (measured(accuracy=True), "accuracy is True"),
    "not a number": (measured(accuracy=math.nan), "accuracy is nan"),
    "endless": (measured(size_bytes=math.inf), "size_bytes is inf"),
    "more than a float holds": (measured(size_bytes=10**400), "size_bytes is too large for a number of 64 bits"),
    "a negative size": (measured(size_bytes=-1), "size_bytes is -1; possible are values from 0 to inf"),
    "a share above 1": (measured(accuracy=1.5), "accuracy is 1.5; possible are values from 0 to 1"),
    "an array": (measured(accuracy=np.zeros(2)), "accuracy is a ndarray"),
    "a bare number": (replace(GOOD, measurements={"accuracy": 0.5}), "accuracy is a float in place of a measurement"),
    "another metric's name": (
        replace(GOOD, measurements={"accuracy": Measurement("macs", 5.0)}),
        "accuracy is a Measurement in place of a measurement of accuracy",
    ),
    "a spread that is none": (
        replace(GOOD, measurements={"accuracy": Measurement("accuracy", 0.5, math.nan)}),
        "the spread of accuracy is nan",
    ),
    "facts that are no data": (replace(GOOD, facts={"file": object()}), "the facts cannot be stored as JSON"),
    "a curve that is none": (replace(GOOD, curve=((0, None),)), "the curve cannot be stored"),
    "stopped without a word": (replace(GOOD, outcome="stopped"), "a trial that was stopped early has no fact"),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_result_fails_with_its_reason_and_poisons_nothing(kind: str, tmp_path: Path) -> None:
    result, reason = ODD[kind]
    study = open_study(tmp_path)
    run(study, 1)
    asked = study.ask(sample)
    assert asked is not None
    told = study.tell(asked.number, result)
    assert told is not None
    assert told.outcome == "failed"
    assert told.reason.startswith(reason)
    again = open_study(tmp_path)
    assert again.recover() == 0
    assert again.rows()[1]["reason"] == told.reason
    assert [model.trial for model in best_models(again)] == [0]
    states = [trial.state for trial in again._study.trials]
    assert states == [optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.FAIL]


def test_what_is_right_stays_as_it_is() -> None:
    numbers = measured(accuracy=np.float32(0.5), size_bytes=7)
    assert checked(GOOD, objectives()) == GOOD
    assert checked(numbers, objectives()).measurements["accuracy"].value == 0.5
    assert type(checked(numbers, objectives()).measurements["size_bytes"].value) is float


def test_a_training_that_diverges_keeps_the_rest_of_its_curve_and_facts() -> None:
    diverged = replace(GOOD, curve=((0, {"loss": math.nan, "accuracy": 0.1}),), facts={"a": [math.inf, 1]})
    kept = checked(diverged, objectives())
    assert kept.curve == ((0, {"accuracy": 0.1}),)
    assert kept.facts == {"a": [None, 1]}


def test_an_odd_derived_trial_is_left_out() -> None:
    good = Derived(BASELINE, {}, GOOD.measurements, "a")
    odd = Derived(BASELINE, {}, {"accuracy": GOOD.measurements["accuracy"]}, "b")
    assert checked(replace(GOOD, derived=(odd, good)), objectives()).derived == (good,)


def test_a_study_that_is_poisoned_already_opens_and_is_mended(tmp_path: Path) -> None:
    run(open_study(tmp_path), 3)
    with sqlite3.connect(tmp_path / "studies.db") as connection:  # as version 0.1 left it
        connection.execute("DELETE FROM paredown_measurements WHERE metric = 'size_bytes' AND trial_id = 2")
        connection.execute("UPDATE trials SET state = 'RUNNING', datetime_complete = NULL WHERE number = 1")
        connection.execute("DELETE FROM trial_values WHERE trial_id = 2")
    connection.close()
    study = open_study(tmp_path)
    assert [model.trial for model in study.models()] == [0, 2]
    assert study.recover() == 0
    assert study.rows()[1]["reason"] == "its stored result has no size_bytes"
    assert study.counts() == {"done": 2, "failed": 1}
    run(study, 1)
    assert best_models(study)
