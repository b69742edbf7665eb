"""Searches that are killed, suspended or have a wrong clock: the trials are finished, each once, whatever happens."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import psutil
import pytest
import toy_trials
from sqlalchemy import select
from sqlalchemy.orm import Session
from toy_searches import check, dies_once, endless, held, let_go, opened, started, wait_for

from paredown.search.run import search
from paredown.search.trial_queue import TIME_IS_UP
from paredown.studies.tables import RunnerRow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def study() -> str:
    return f"toy-{uuid.uuid4().hex[:8]}"


def search_here(folder: Path, database: str, trials: int, study: str, **keys: object) -> str:
    setup = toy_trials.toy_setup(folder, sampler="random", trials=trials, study=study, **keys)
    return search(setup, database, run=toy_trials.good, lease_s=1.5).reason


def test_a_live_search_finishes_what_killed_ones_leave(database: str, study: str, tmp_path: Path) -> None:
    """The searches are killed at seeded moments, the first of them while it runs the baseline or before."""
    moments = random.Random(15)
    for victim in range(3):
        with started(tmp_path, database, trials=12, study=study) as process:
            of = opened(database, study)
            before = sum(of.counts().values())
            wait_for(lambda of=of, before=before, n=victim: sum(of.counts().values()) >= before + n)
            threading.Event().wait(moments.uniform(0, 0.4))
            os.kill(process.pid, signal.SIGKILL)
    assert search_here(tmp_path, database, 12, study) == "12 trials are done"
    check(of, 12)
    assert of.models()[0].trial == 0, "the baseline stays the first"


def test_of_two_searches_one_is_killed_and_the_other_ends_with_all_trials(
    database: str, study: str, tmp_path: Path
) -> None:
    keys = {"trials": 14, "study": study}
    with started(tmp_path, database, held, **keys) as victim, started(tmp_path, database, held, **keys) as other:
        of = opened(database, study)
        wait_for(lambda: of.counts().get("done", 0) >= 3 and of.counts().get("running", 0) == 2)
        os.kill(victim.pid, signal.SIGKILL)
        let_go(tmp_path)
        other.join(60)
        assert other.exitcode == 0
    check(of, 14)
    # That of the killed search; on a starved machine the lease of another one may lapse, too.
    assert [row["attempt"] for row in of.rows() if row["state"] == "done"].count(2) >= 1


def test_a_search_that_is_suspended_past_its_lease_does_no_harm(database: str, study: str, tmp_path: Path) -> None:
    keys = {"trials": 8, "study": study}
    with started(tmp_path, database, held, **keys) as suspended:
        of = opened(database, study)
        wait_for(lambda: of.counts().get("done", 0) >= 3 and of.counts().get("running", 0) == 1)
        os.kill(suspended.pid, signal.SIGSTOP)
        let_go(tmp_path)
        reason = search_here(tmp_path, database, 8, study)
        check(of, 8)
        before = of.rows()
        os.kill(suspended.pid, signal.SIGCONT)
        suspended.join(60)
        assert suspended.exitcode == 0
    assert reason == "8 trials are done"
    assert of.rows() == before
    assert [orphan["attempt"] for orphan in of.orphans()] == [1], "what it found late is kept"


def test_searches_whose_clocks_differ_or_jump_take_nothing_from_each_other(
    database: str, study: str, tmp_path: Path
) -> None:
    keys = {"trials": 10, "study": study}
    with (
        started(tmp_path, database, hours=(1,), **keys) as ahead,
        started(tmp_path, database, hours=(-1,), **keys) as behind,
        started(tmp_path, database, hours=(0, 1, -1), **keys) as jumping,
    ):
        for process in (ahead, behind, jumping):
            process.join(60)
            assert process.exitcode == 0
    of = opened(database, study)
    check(of, 10)
    assert {row["attempt"] for row in of.rows() if row["state"] == "done"} == {1}
    assert of.orphans() == []


ALONE = "import sys, json, toy_searches as t; t.run_toy(*sys.argv[1:3], t.held, (0,), json.loads(sys.argv[3]))"
NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def namespaces_are_refused() -> str:
    """Return why this process cannot make namespaces; empty where it can."""
    if shutil.which("unshare") is None:
        return "unshare is not installed"
    return subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True).stderr


def test_two_containers_of_one_host_name_share_a_study(study: str, tmp_path: Path) -> None:
    """Both searches have the process number 1; one of them is killed."""
    if refused := namespaces_are_refused():
        pytest.skip(f"no PID namespaces: {refused}")
    database = f"sqlite:///{tmp_path}/toy.db"
    keys = json.dumps({"trials": 30, "study": study, "driver": "in_turn"})
    command = [*NAMESPACE, sys.executable, "-c", ALONE, str(tmp_path), database, keys]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment) as victim, subprocess.Popen(command, env=environment) as other:
        of = opened(database, study)
        wait_for(lambda: of.counts().get("done", 0) >= 3 and of.counts().get("running", 0) == 2)
        with Session(of._storage.engine) as session:
            assert [row.pid for row in session.scalars(select(RunnerRow))] == [1, 1]
        victim.kill()
        let_go(tmp_path)
        assert other.wait(100) == 0
    check(of, 30)
    assert of.orphans() == []


def test_each_worker_is_killed_once_and_each_trial_is_done(study: str, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/toy.db"
    setup = toy_trials.toy_setup(tmp_path, sampler="random", trials=5, study=study, workers=2)
    setup.plan.folder.mkdir(parents=True, exist_ok=True)
    of = search(setup, database, run=dies_once, lease_s=1.5).study
    check(of, 5)
    assert {row["attempt"] for row in of.rows() if row["state"] == "done"} == {2}, "the baseline's too"


def test_a_worker_ends_with_the_search_that_started_it(study: str, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/toy.db"
    mark = tmp_path / "out" / "worker"
    mark.parent.mkdir(parents=True)
    with started(tmp_path, database, endless, driver="local", trials=3, study=study) as process:
        wait_for(lambda: mark.exists() and mark.read_text())
        worker = psutil.Process(int(mark.read_text()))
        os.kill(process.pid, signal.SIGKILL)
        wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def test_a_search_that_waits_for_anothers_baseline_keeps_its_deadline(study: str, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/toy.db"
    mark = tmp_path / "out" / "worker"
    mark.parent.mkdir(parents=True)
    with started(tmp_path, database, endless, trials=3, study=study):
        wait_for(lambda: mark.exists() and mark.read_text())
        assert search_here(tmp_path, database, 3, study, timeout=2) == TIME_IS_UP
