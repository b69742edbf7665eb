"""What a study does with a trial that was stopped early."""

import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest
from toy_study import BASELINE, KNOBS, open_study, outcome, run, sample

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.measurement import Measurement, Objective, violations
from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.history import STOPPED_KEY, read_history
from paredown.search.samplers.sampler import Problem
from paredown.spaces.candidate import Candidate
from paredown.studies.report import write_report
from paredown.studies.result import PendingTrial, TrialResult, stopped_early
from paredown.studies.study import Study

CURVE = [(0, {"accuracy": 0.5}), (1, {"accuracy": 0.625})]
REASON = "stopped at epoch 2 of 8: rank 2, place 4 of 5 that reached this rung; the best 2 go on"


def stopped(size: float = 4000.0) -> TrialResult:
    known = {"size_bytes": Measurement("size_bytes", size)}
    return stopped_early(REASON, 0.25, 0.625, known, {"seconds": {"train": 1.0}}, CURVE)


def asked(study: Study) -> PendingTrial:
    while (trial := study.ask(sample)) is None:
        pass
    return trial


def optuna_study(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="toy", storage=f"sqlite:///{folder / 'studies.db'}")


def with_one_stopped(folder: Path, **keys: Any) -> tuple[Study, PendingTrial]:
    study = open_study(folder, **keys)
    run(study, 1)
    trial = asked(study)
    study.tell(trial.number, stopped())
    return study, trial


def test_it_keeps_curve_reason_and_what_is_known(tmp_path: Path) -> None:
    _, trial = with_one_stopped(tmp_path)
    study = open_study(tmp_path)
    row = study.rows()[trial.number]
    assert (row["state"], row["reason"]) == ("stopped", REASON)
    assert study.curves()[trial.number] == CURVE
    assert study.measured()[trial.number] == {"size_bytes": Measurement("size_bytes", 4000.0)}
    assert study.counts() == {"done": 1, "stopped": 1}
    assert [m.trial for m in study.models()] == [0], "a network that is half trained is no model"


def test_samplers_learn_from_it(tmp_path: Path) -> None:
    _, trial = with_one_stopped(tmp_path)
    frozen = optuna_study(tmp_path).trials[trial.number]
    assert frozen.state == optuna.trial.TrialState.PRUNED
    assert frozen.user_attrs[STOPPED_KEY] == {"share": 0.25, "value": 0.625}
    space = {name: optuna.distributions.IntDistribution(0, 9) for name in KNOBS}
    history = read_history(optuna_study(tmp_path), KnobDomain(space))
    assert history.stopped == [(frozen.params, 0.25, -0.625)]
    assert history.failed == []


@pytest.mark.parametrize(("limit", "violation"), [(None, None), (5000, -0.25), (4000, -0.05), (3950, 50 / 3950 - 0.05)])
def test_it_breaks_no_limit_that_it_keeps(tmp_path: Path, limit: float | None, violation: float | None) -> None:
    """Before training a size may be 2 % beyond its limit: it would not have been rejected."""
    _, trial = with_one_stopped(tmp_path, limit=limit)
    told = optuna_study(tmp_path).trials[trial.number].constraints
    assert told == ({} if violation is None else {"size_bytes": pytest.approx(violation)})
    assert all(v <= 0 for v in told.values())


def test_a_limit_on_what_is_not_known_before_training_is_left_open() -> None:
    accuracy = Objective(EVALUATORS["accuracy"].metric, limit=0.9)
    size = Objective(EVALUATORS["size_bytes"].metric, limit=100)
    assert violations([accuracy, size], {"size_bytes": 150}, untrained=True) == {"size_bytes": pytest.approx(0.45)}
    assert violations([accuracy, size], {"size_bytes": 150}) == {"accuracy": 1.0, "size_bytes": 0.5}


def test_its_network_is_known_and_not_run_again(tmp_path: Path) -> None:
    study, trial = with_one_stopped(tmp_path)
    assert study.ask(lambda suggester: sample(suggester) and trial.candidate) is None
    row = study.rows()[2]
    assert (row["state"], row["reason"]) == ("duplicate", f"the same network as trial {trial.number}")
    again = optuna_study(tmp_path).trials[2]
    assert again.state == optuna.trial.TrialState.PRUNED
    assert again.user_attrs[STOPPED_KEY] == {"share": 0.25, "value": 0.625}


def test_a_kill_before_optunas_mark_loses_nothing(tmp_path: Path) -> None:
    """The row is stored, Optuna's trial still runs: the next process tells it."""
    _, trial = with_one_stopped(tmp_path)
    with sqlite3.connect(tmp_path / "studies.db") as connection:
        connection.execute("UPDATE trials SET state = 'RUNNING' WHERE number = ?", (trial.number,))
        connection.execute("DELETE FROM trial_user_attributes")
    assert optuna_study(tmp_path).trials[trial.number].state == optuna.trial.TrialState.RUNNING
    study = open_study(tmp_path)
    assert study.recover() == 0
    frozen = optuna_study(tmp_path).trials[trial.number]
    assert frozen.state == optuna.trial.TrialState.PRUNED
    assert frozen.user_attrs[STOPPED_KEY] == {"share": 0.25, "value": 0.625}
    assert study.counts() == {"done": 1, "stopped": 1}


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_goes_on_after_it(name: str, tmp_path: Path) -> None:
    study = open_study(tmp_path, limit=8000)
    study.use(SAMPLERS[name](Problem(1, 40)))
    ran: list[Candidate] = []
    while len(ran) < 30:
        trial = asked(study)
        is_stopped = trial.number % 2 == 1 and trial.candidate != BASELINE
        study.tell(trial.number, stopped(3000.0) if is_stopped else outcome(trial.candidate))
        ran.append(trial.candidate)
    assert study.counts()["stopped"] > 10
    assert len({c.digest for c in ran}) == 30


def test_the_report_names_it_and_marks_its_curve(tmp_path: Path) -> None:
    study, trial = with_one_stopped(tmp_path)
    write_report(study, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<h2>Stopped early</h2>" in page
    assert f"<td>{trial.number}</td><td>stopped</td><td class=what>{REASON}</td>" in page
    assert "dashed, with a cross at the end: stopped early" in page
    assert "<b>1</b><span>stopped</span>" in page
    assert "<b>2</b><span>trials</span>" in page
    assert "Failed and rejected" not in page
