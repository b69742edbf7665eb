"""Kills at every instant: nothing is lost, nothing runs twice under two numbers, nothing stays running."""

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from toy_study import let_leases_lapse, open_study, outcome, run, sample

from paredown.studies.result import TrialResult

CRASH = """
import os, signal, sys
from pathlib import Path
from toy_study import open_study, outcome, run, sample
study = open_study(Path(sys.argv[1]))
run(study, 3)
instant = sys.argv[2]
if instant == "before our row":
    study._study.ask()
else:
    asked = study.ask(sample)
    if instant == "before Optuna's mark":
        study._finish = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
        study.tell(asked.number, outcome(asked.candidate))
os.kill(os.getpid(), signal.SIGKILL)
"""
INSTANTS = ("before our row", "while it runs", "before Optuna's mark")


def states(folder: Path) -> list[str]:
    study = optuna.load_study(study_name="toy", storage=f"sqlite:///{folder / 'studies.db'}")
    return [trial.state.name for trial in study.trials]


@pytest.mark.parametrize("instant", INSTANTS)
def test_a_kill_loses_nothing(tmp_path: Path, instant: str) -> None:
    here = {**os.environ, "PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    ended = subprocess.run([sys.executable, "-c", CRASH, str(tmp_path), instant], env=here, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert states(tmp_path) == ["COMPLETE"] * 3 + ["RUNNING"]
    study = open_study(tmp_path)
    let_leases_lapse(study)
    again = study.recover()
    assert again == (0 if instant == "before Optuna's mark" else 1)
    run(study, 2)
    assert set(states(tmp_path)) == {"COMPLETE"}
    numbers = [row["number"] for row in study.rows()]
    assert numbers == list(range(len(numbers)))
    assert study.rows()[3]["attempt"] == (2 if instant == "while it runs" else 1)
    assert len({m.candidate.digest for m in study.models()}) == len(study.models())


def test_deaths_of_the_search_are_not_the_trials_fault(tmp_path: Path) -> None:
    run(open_study(tmp_path), 1)
    for attempt in range(1, 7):
        study = open_study(tmp_path)
        study.recover()
        asked = study.ask(sample)
        assert asked is not None
        assert asked.number == 1
        assert study.rows()[1]["attempt"] == attempt
        let_leases_lapse(study)
    study.recover()
    study.tell(1, outcome(asked.candidate))
    assert states(tmp_path) == ["COMPLETE"] * 2


def test_a_trial_whose_own_process_dies_three_times_is_to_fail(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    run(study, 1)
    for death in range(1, 4):
        asked = study.ask(sample)
        assert asked is not None
        assert asked.number == 1
        assert study.lose(1) == (death < 3)
    study.tell(1, TrialResult("failed", "killed"))
    assert study.rows()[1]["reason"] == "killed"
    assert states(tmp_path) == ["COMPLETE", "FAIL"]


def test_the_trials_of_a_living_process_are_left_alone(tmp_path: Path) -> None:
    first = open_study(tmp_path)
    run(first, 1)
    asked = first.ask(sample)
    assert asked is not None
    second = open_study(tmp_path)
    assert second.recover() == 0
    first.tell(asked.number, outcome(asked.candidate))
    assert first.counts() == {"done": 2}


def _work(folder: str, seed: int, count: int) -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    run(open_study(Path(folder), seed=seed), count)


def test_two_processes_share_a_file(tmp_path: Path) -> None:
    run(open_study(tmp_path), 1)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_work, args=(str(tmp_path), seed, 12)) for seed in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    rows = open_study(tmp_path).rows()
    assert sorted(row["number"] for row in rows) == list(range(len(rows)))
    assert sum(row["state"] == "done" for row in rows) == 25
    with sqlite3.connect(tmp_path / "studies.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
