"""Two openers of one study: neither runs what the other runs."""

import logging
import sqlite3
from pathlib import Path

import optuna
from toy_study import BASELINE, open_study, outcome, run, sample

from paredown.spaces.candidate import Candidate
from paredown.spaces.knob import Suggester
from paredown.studies.optuna_study import finish
from paredown.studies.result import TrialResult

ONE = Candidate("mbconv", {"mbconv.width": 1, "mbconv.depth": 1})


def always_one(trial: Suggester) -> Candidate:
    sample(trial)
    return ONE


def states(folder: Path) -> list[str]:
    study = optuna.load_study(study_name="toy", storage=f"sqlite:///{folder / 'studies.db'}")
    return [trial.state.name for trial in study.trials]


def test_a_network_that_another_opener_runs_is_not_run_again(tmp_path: Path) -> None:
    first, second = open_study(tmp_path), open_study(tmp_path, seed=1)
    run(first, 1)
    other = second.ask(sample)  # the second has looked at what is known
    assert other is not None
    asked = first.ask(always_one)
    assert asked is not None
    assert second.ask(always_one) is None
    first.tell(asked.number, outcome(ONE))
    assert second.ask(always_one) is None
    assert [row["state"] for row in first.rows()] == ["done", "running", "done", "duplicate", "duplicate"]
    assert states(tmp_path) == ["COMPLETE", "RUNNING", "COMPLETE", "FAIL", "COMPLETE"]


def test_who_tells_a_result_second_keeps_it_and_says_nothing(tmp_path: Path) -> None:
    first = open_study(tmp_path)
    run(first, 1)
    study = optuna.load_study(study_name="toy", storage=f"sqlite:///{tmp_path / 'studies.db'}")
    (told,) = study.get_trials()
    records: list[logging.LogRecord] = []
    listening = logging.Handler()
    listening.emit = records.append  # type: ignore[method-assign]
    optuna.logging.get_logger("optuna").addHandler(listening)
    try:
        finish(study, optuna.Trial(study, told._trial_id), first.objectives, "failed", {}, {})
    finally:
        optuna.logging.get_logger("optuna").removeHandler(listening)
    assert study.get_trials() == [told]
    assert [record.getMessage() for record in records] == []


def test_the_baseline_runs_once(tmp_path: Path) -> None:
    first, second = open_study(tmp_path), open_study(tmp_path, seed=1)
    asked, other = first.ask(sample), second.ask(sample)
    assert asked is not None
    assert asked.candidate == BASELINE
    assert other is None or other.candidate != BASELINE


def test_a_duplicate_of_what_was_queued_again_is_settled(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    run(study, 1)
    asked = study.ask(always_one)
    assert asked is not None
    study.tell(asked.number, TrialResult("failed", "a bad day"))
    assert study.ask(always_one) is None
    with sqlite3.connect(tmp_path / "studies.db") as connection:  # as if killed before Optuna's mark
        connection.execute("UPDATE trials SET state = 'RUNNING', datetime_complete = NULL WHERE number = 2")
    connection.close()
    again = open_study(tmp_path)
    assert states(tmp_path)[2] == "RUNNING"
    again.retry(lambda candidate: dict(candidate.knobs))
    assert again.recover() == 0
    assert states(tmp_path)[2] == "FAIL"
