"""Further points of one trained model: each a trial of its own, stored whole or gone on with after a kill."""

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from toy_study import BASELINE, let_leases_lapse, open_study, outcome, run, sample

from paredown.search.patience import trials_without_gain
from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.sampler import Problem
from paredown.spaces.candidate import Candidate
from paredown.studies.result import DERIVED_KEY, Derived, TrialResult
from paredown.studies.study import Study

CRASH = """
import os, signal, sys
from pathlib import Path
from paredown.studies import derived, optuna_study
from test_derived import kill, open_study, run, tell_with_derived
study = open_study(Path(sys.argv[1]))
run(study, 2)
instant = sys.argv[2]
if instant == "before Optuna's mark":
    study._finish = kill
elif instant == "before a number":
    derived.number = kill
elif instant == "between Optuna and our row":
    add = derived._add
    derived._add = lambda *args: kill() if add(*args) else None
elif instant == "before a derived trial's mark":
    finish = optuna_study.finish
    optuna_study.finish = lambda of, trial, *args: kill() if trial.number > 2 else finish(of, trial, *args)
tell_with_derived(study)
"""
INSTANTS = (
    "before Optuna's mark",
    "before a number",
    "between Optuna and our row",
    "before a derived trial's mark",
)


def kill(*args: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_depth(candidate: Candidate, depth: int) -> Derived:
    changed = {"mbconv.depth": depth}
    other = Candidate("mbconv", {**candidate.knobs, **changed})
    return Derived(other, changed, outcome(other).measurements, f"trials/{depth}", {"exits": [depth]})


def tell_with_derived(study: Study) -> tuple[int, Candidate]:
    """Tell a trial with three further points; one of them is the baseline, and so known already."""
    while True:
        asked = study.ask(sample)
        if asked is None:
            continue
        others = [d for d in range(10) if d != asked.candidate.knobs["mbconv.depth"]]
        known = {m.candidate for m in study.models()}
        fresh = [d for d in (at_depth(asked.candidate, depth) for depth in others) if d.candidate not in known][:2]
        baseline = Derived(BASELINE, {"mbconv.width": 9, "mbconv.depth": 9}, outcome(BASELINE).measurements, "x")
        study.tell(asked.number, replace(outcome(asked.candidate), derived=(fresh[0], baseline, fresh[1])))
        return asked.number, asked.candidate


def check(folder: Path, study: Study) -> None:
    """Three trials, two derived ones: once each, in our tables and in Optuna's, with equal knobs and values."""
    rows = study.rows()
    assert [(row["number"], row["parent"], row["state"]) for row in rows] == [
        (0, None, "done"),
        (1, None, "done"),
        (2, None, "done"),
        (3, 2, "done"),
        (4, 2, "done"),
    ]
    assert study.counts() == {"done": 3, "derived": 2}
    trials = optuna.load_study(study_name="toy", storage=f"sqlite:///{folder / 'studies.db'}").trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 5
    for model, trial in zip(study.models()[1:], trials[1:], strict=True):
        assert dict(model.candidate.knobs) == trial.params
        assert [model["accuracy"], model["size_bytes"]] == trial.values
    assert [DERIVED_KEY in trial.user_attrs for trial in trials] == [False] * 3 + [True] * 2
    assert {m.artifact for m in study.models()[3:]} == {
        f"trials/{m.candidate.knobs['mbconv.depth']}" for m in study.models()[3:]
    }
    with sqlite3.connect(folder / "studies.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_each_further_point_is_a_trial_with_its_parent(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    run(study, 2)
    tell_with_derived(study)
    check(tmp_path, study)
    assert study.rows()[3]["facts"]["exits"]
    run(study, 2)
    assert [row["number"] for row in study.rows()] == list(range(len(study.rows())))
    assert study.counts()["done"] == 5


@pytest.mark.parametrize("instant", INSTANTS)
def test_a_kill_loses_and_doubles_nothing(tmp_path: Path, instant: str) -> None:
    here = {**os.environ, "PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    ended = subprocess.run([sys.executable, "-c", CRASH, str(tmp_path), instant], env=here, check=False)
    assert ended.returncode == -signal.SIGKILL
    study = open_study(tmp_path)
    let_leases_lapse(study)
    assert study.recover() == 0, "nothing runs again"
    check_states = [row["state"] for row in study.rows()]
    assert check_states == ["done"] * 5
    check(tmp_path, study)
    assert study.recover() == 0
    check(tmp_path, study)


def test_a_limit_decides_for_each_of_them(tmp_path: Path) -> None:
    study = open_study(tmp_path, limit=2500)
    run(study, 1)
    asked = None
    while asked is None:
        asked = study.ask(sample)
    wide = Candidate("mbconv", {**asked.candidate.knobs, "mbconv.depth": 9})
    small = Derived(wide, {"mbconv.depth": 9}, outcome(wide, size_bytes=100).measurements, "a")
    thin = Candidate("mbconv", {**asked.candidate.knobs, "mbconv.depth": 0})
    big = Derived(thin, {"mbconv.depth": 0}, outcome(thin, size_bytes=9e9).measurements, "b")
    endless = Derived(BASELINE, {}, outcome(BASELINE, accuracy=float("nan")).measurements, "c")
    told = study.tell(asked.number, replace(outcome(asked.candidate), derived=(small, big, endless)))
    assert [d.artifact for d in told.derived] == ["a", "b"], "what is not finite is left out"
    assert [m.feasible for m in study.models()[2:]] == [True, False]


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_go_on_after_derived_trials(tmp_path: Path, name: str) -> None:
    study = open_study(tmp_path)
    run(study, 1)
    for _ in range(3):
        tell_with_derived(study)
    if name in {"random", "tpe", "nsga2", "nsga3", "qmc"}:  # the others need the costs of a real space
        study.use(SAMPLERS[name](Problem(0, 20)))
    run(study, 3)
    assert study.counts()["done"] == 7
    assert set(study.counts()) <= {"done", "derived", "duplicate"}


def test_they_do_not_count_as_trials_without_gain(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    run(study, 1)
    tell_with_derived(study)
    assert trials_without_gain(study) <= 1


def test_results_with_derived_ones_cross_networks_as_json() -> None:
    result = replace(outcome(BASELINE), derived=(at_depth(BASELINE, 3),))
    assert TrialResult.from_json(result.to_json()) == result
