"""A process that runs trials one after the other: how it starts, what it says, and when it is killed.

A worker that crashes, hangs or holds too much memory costs its trial and nothing else: its owner replaces it.
"""

import contextlib
import signal
import time
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from paredown.evaluators.errors import TrialInterrupted
from paredown.evaluators.owner import end_with_owner
from paredown.search.drivers.driver import Job, RunTrial
from paredown.search.drivers.memory import held_bytes
from paredown.search.drivers.process_server import main_module_hidden, worker_context
from paredown.search.trial.failure_cause import failure
from paredown.search.trial.plan import TrialPlan
from paredown.studies.checking import checked
from paredown.studies.result import CAUSE, Cause, TrialResult

BEGINS, EPOCH, AWAITS, RESULT, CUT, DIED = "begins", "epoch", "awaits", "result", "cut", "died"
"""What is heard of a worker: a trial begins; an epoch of it has ended; it waits for the baseline; the trial has
ended; it found that the search ends; the process has died in the midst of it."""
GRACE = 1.5
"""Multiple of the trial's timeout after which a worker that does not stop by itself is killed."""
LEAVE_S = 5.0
"""Seconds in which an idle worker has to end by itself."""
START_S = 120.0
"""Further seconds for the first trial of a process, which loads PyTorch before it begins."""


class Worker:
    """A process that runs trials, as its owner sees it.

    Attributes:
        pipe: To the process; it has something to read where the worker has said something or has died.
        job: The trial that it runs; None where it is idle.
        awaits_baseline: Whether the trial waits for the baseline now.
    """

    def __init__(self, run: RunTrial) -> None:
        context = worker_context()
        self.pipe, theirs = context.Pipe()
        self.job: Job | None = None
        self._process = context.Process(target=_work, args=(theirs, run), daemon=True)
        self._given, self._is_loaded, self.awaits_baseline = 0.0, False, False
        with main_module_hidden():
            self._process.start()
        theirs.close()

    def give(self, job: Job) -> None:
        """Let the process run a trial."""
        self.job, self._given = job, time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has died; the next message is its end
            self.pipe.send(job)

    def taken(self) -> Job:
        """Return the trial that the process runs, and take it for idle from here."""
        job, self.job, self.awaits_baseline = self.running, None, False
        return job

    @property
    def running(self) -> Job:
        """The trial that the process runs."""
        assert self.job is not None, "messages come from workers that run a trial"
        return self.job

    def receive(self) -> tuple[Any, ...]:
        """Return what is heard next of the process: its kind, and what belongs to it, such as how it died."""
        try:
            kind, *content = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            return DIED, _death(self._process.exitcode)
        if kind == BEGINS:
            self._given, self._is_loaded = time.monotonic(), True
        return kind, *content

    def answer(self, reason: str) -> None:
        """Say why the trial ends after the epoch that it has reported; empty: it goes on."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has died; the next message is its end
            self.pipe.send(reason)

    def hand_over(self, plan: TrialPlan) -> None:
        """Let the trial that waits for the baseline go on with a plan that holds it."""
        self.job, self.awaits_baseline = replace(self.running, plan=plan), False
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has died; the next message is its end
            self.pipe.send((plan.baseline, plan.objectives))

    def excess(self, default_bytes: float) -> tuple[str, Cause] | None:
        """Return why the process is to be killed, and what kind of failure that is; None where it takes what it may.

        Args:
            default_bytes: Memory that it may hold where the plan of the trial does not limit it.
        """
        if self.job is None:
            return None
        plan = self.job.plan
        limit_bytes = plan.memory_bytes or default_bytes
        if (held := held_bytes(self._process.pid)) > limit_bytes:
            limit = f"{'trial_memory of' if plan.memory_bytes else 'its share of the memory,'} {_mb(limit_bytes)}"
            return f"out of memory: its process held {_mb(held)}, above {limit}, and was killed", "out_of_memory"
        allowed_s = GRACE * plan.timeout_s + (0 if self._is_loaded else START_S)
        # What it has said may be its result, which has waited for a search that was busy or for its database.
        if time.monotonic() - self._given > allowed_s and not self.pipe.poll(0):
            return f"timeout: no end after {GRACE * plan.timeout_s:g} s; its process was killed", "timeout"
        return None

    def leave(self) -> None:
        """Let an idle process end and clean up by itself."""
        self.pipe.close()

    def join(self) -> None:
        """Wait for a process that was let go, but not for long."""
        self._process.join(LEAVE_S)

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join()
        self.pipe.close()


def must_be_replaced(result: TrialResult) -> bool:
    """Return whether the process that came to a result cannot run another trial: it has lost its device for good."""
    return result.facts.get(CAUSE) == "device_lost"


def _work(pipe: "Connection[Any, Any]", run: RunTrial) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner decides what Ctrl-C means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_owner()
    while True:
        try:
            job: Job = pipe.recv()
        except (EOFError, OSError):
            return  # the owner is gone
        try:
            pipe.send((BEGINS,))
            pipe.send(_outcome(run, job, pipe))
        except BrokenPipeError:
            return


def _outcome(run: RunTrial, job: Job, pipe: "Connection[Any, Any]") -> tuple[Any, ...]:
    """Run a trial; what leaves the process is a result that can be stored, whatever the trial did or returned."""
    try:
        plan = replace(job.plan, reference=partial(_baseline_of, pipe)) if job.plan.awaits_baseline else job.plan
        result = run(job.candidate, plan, partial(_report, pipe, plan.judged))
        return RESULT, checked(result, job.plan.objectives)
    except TrialInterrupted:
        return (CUT,)
    except Exception as error:  # of a trial function that lets its errors out
        return RESULT, failure(error, {}, ())


def _report(pipe: "Connection[Any, Any]", judged: bool, epoch: int, metrics: dict[str, float]) -> str:
    try:
        pipe.send((EPOCH, epoch, metrics))
        return str(pipe.recv()) if judged else ""
    except (EOFError, OSError):
        raise TrialInterrupted("the search has ended") from None


def _baseline_of(pipe: "Connection[Any, Any]") -> tuple[Any, Any]:
    """Wait for the baseline, and return it with the objectives that follow from it."""
    try:
        pipe.send((AWAITS,))
        baseline, objectives = pipe.recv()
    except (EOFError, OSError):
        raise TrialInterrupted("the search has ended") from None
    return baseline, objectives


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        hint = "; the machine may be out of memory" if -code == signal.SIGKILL else ""
        return f"its process was killed by {signal.Signals(-code).name}{hint}"
    return f"its process ended with exit code {code}"


def _mb(amount_bytes: float) -> str:
    return f"{amount_bytes / 1e6:,.0f} MB"
