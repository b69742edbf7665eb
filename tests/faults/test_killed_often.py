"""kill -9 of the search and of its workers at twenty seeded moments each."""

import os
import random
import signal
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy_trials
from kill_series import kill_series
from toy_searches import check

from paredown.search.drivers.process_server import worker_context
from paredown.search.run import search
from paredown.studies.result import TrialResult
from paredown.studies.study import Study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KILLS = 20
SEED = 15


@pytest.fixture
def study() -> str:
    return f"toy-{uuid.uuid4().hex[:8]}"


def finished_here(folder: Path, database: str, trials: int, study: str) -> Study:
    """Bring a study to its end in this process."""
    setup = toy_trials.toy_setup(folder, sampler="random", trials=trials, study=study)
    summary = search(setup, database, run=toy_trials.good, lease_s=1.0)
    assert summary.reason == f"{trials} trials are done"
    return summary.study


def test_a_search_that_is_killed_at_twenty_moments_finishes_every_trial_once(
    database: str, study: str, tmp_path: Path
) -> None:
    trials = 2 * KILLS + 2  # a killed search finishes two at most
    process = worker_context().Process(target=kill_series, args=(str(tmp_path), database, study, KILLS, SEED, trials))
    process.start()
    process.join(200)
    assert process.exitcode == 0
    of = finished_here(tmp_path, database, trials, study)
    check(of, trials)
    rows = of.rows()
    assert of.models()[0].trial == 0, "the baseline stays the first"
    assert sum(row["attempt"] - 1 for row in rows if row["state"] == "done") >= KILLS / 4, "some were killed in a trial"
    assert of.orphans() == []


def killed_at_a_moment(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """A trial whose process is killed when it runs for the first time: in its midst, or as its result is sent."""
    mark = Path(plan.folder, f"killed-{candidate.digest}")
    if not mark.exists():
        mark.touch()
        delay_s = random.Random(f"{SEED} {candidate.digest}").uniform(0, 0.2)
        threading.Timer(delay_s, os.kill, (os.getpid(), signal.SIGKILL)).start()
        for epoch in range(10):
            threading.Event().wait(0.02)
            on_epoch(epoch, {"accuracy": 0.5})
    return toy_trials.good(candidate, plan, on_epoch)


def test_workers_that_are_killed_at_twenty_moments_cost_nothing(database: str, study: str, tmp_path: Path) -> None:
    setup = toy_trials.toy_setup(tmp_path, sampler="random", trials=KILLS, study=study, workers=2)
    setup.plan.folder.mkdir(parents=True)
    of = search(setup, database, run=killed_at_a_moment).study
    check(of, KILLS)
    attempts = [row["attempt"] for row in of.rows() if row["state"] == "done"]
    assert sum(attempts) - KILLS >= KILLS / 2, f"seed {SEED}: {attempts}"
