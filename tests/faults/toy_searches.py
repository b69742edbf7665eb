"""Searches in processes of their own, to be killed, stopped and continued; trials cost nothing but time.

They start as forks of the server of the workers, which has loaded PyTorch already.
"""

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import optuna
import toy_trials
from third_driver import IN_TURN

from paredown.search.drivers.catalogue import DRIVERS
from paredown.search.drivers.process_server import worker_context
from paredown.search.run import search
from paredown.search.study_file.objectives import stored_objectives
from paredown.studies.errors import StudyError
from paredown.studies.front import front
from paredown.studies.result import TrialResult
from paredown.studies.study import Study

PATIENCE_S = 60.0
"""Seconds after which what a test waits for is taken not to come."""


def short(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """A trial that takes a moment."""
    threading.Event().wait(0.15)
    return toy_trials.good(candidate, plan, on_epoch)


def held(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """A trial that takes a moment; once three have ended, it waits until `let_go`."""
    ended = Path(plan.folder, "ended")
    while ended.exists() and ended.stat().st_size >= 3 and not Path(plan.folder, "go").exists():
        threading.Event().wait(0.02)
    result = short(candidate, plan, on_epoch)
    with ended.open("ab") as file:
        file.write(b".")
    return result


def let_go(folder: Path) -> None:
    """Let the trials end that `held` holds, and all that follow."""
    Path(folder, "out", "go").touch()


def endless(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """A trial that says who runs it and computes for ever."""
    Path(plan.folder, "worker").write_text(str(os.getpid()))
    while True:
        sum(range(1000))


def dies_once(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """A trial whose process is killed the first time: before, in the midst of or after its training."""
    moment = int(candidate.digest, 16) % 3
    mark = Path(plan.folder, f"died-{candidate.digest}")
    is_first = not mark.exists()
    mark.touch()
    if is_first and moment == 0:
        os.kill(os.getpid(), 9)
    if is_first and moment == 1:
        on_epoch(0, {"accuracy": 0.5})
        os.kill(os.getpid(), 9)
    result = toy_trials.good(candidate, plan, on_epoch)
    if is_first:
        os.kill(os.getpid(), 9)
    return result


def run_toy(folder: str, database: str, run: Any, hours: Sequence[int], keys: dict[str, Any]) -> None:
    """Search in this process, whose clock is wrong by one of some numbers of hours, another one at each look."""
    DRIVERS[IN_TURN.name] = IN_TURN
    real, steps = time.time, itertools.cycle(hours)
    time.time = lambda: real() + 3600 * next(steps)
    setup = toy_trials.toy_setup(Path(folder), sampler="random", **keys)
    search(setup, database, run=run, lease_s=1.5)


@contextmanager
def started(
    folder: Path, database: str, run: Any = short, hours: Sequence[int] = (0,), driver: str = "in_turn", **keys: Any
) -> Iterator[BaseProcess]:
    """Run a search in a process of its own, which is killed in the end if it still runs."""
    arguments = (str(folder), database, run, hours, {"driver": driver, **keys})
    process = worker_context().Process(target=run_toy, args=arguments)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def opened(database: str, name: str) -> Study:
    """Open the study that a search made, as soon as it is there."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return Study.open(database, name, stored_objectives)
        except StudyError:
            assert time.monotonic() < end
            threading.Event().wait(0.1)


def wait_for(happened: Callable[[], Any]) -> None:
    """Wait until something has happened."""
    end = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        threading.Event().wait(0.02)


def check(study: Study, trials: int) -> None:
    """So many trials are finished, no number is given twice or missing, and none runs or waits, here and in Optuna."""
    rows = study.rows()
    finished = [row for row in rows if row["state"] in ("done", "stopped", "failed")]
    assert len(finished) == trials
    assert {row["state"] for row in rows} <= {"done", "duplicate", "withdrawn"}
    assert [row["number"] for row in rows] == list(range(len(rows)))
    assert [trial.number for trial in study._study.trials] == list(range(len(rows)))
    assert {trial.state.name for trial in study._study.trials} <= {"COMPLETE", "FAIL"}
    digests = [model.candidate.digest for model in study.models()]
    assert len(set(digests)) == len(digests)


@contextmanager
def read_meanwhile(database: str, study: str) -> Iterator[list[int]]:
    """Read the study all the time, as Optuna's users and `paredown front` do; yields the number of trials at each read.

    Raises:
        Exception: What a reader met.
    """
    ended, reads, errors = threading.Event(), list[int](), list[Exception]()

    def read() -> None:
        try:
            opened(database, study)
            while not ended.wait(0.05):
                reads.append(len(optuna.load_study(study_name=study, storage=database).get_trials()))
                of = Study.open(database, study, stored_objectives)
                front(of.models(), of.optimised_metrics)
        except Exception as error:
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield reads
    finally:
        ended.set()
        reader.join()
    if errors:
        raise errors[0]
