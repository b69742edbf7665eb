"""The trials of a search: which one comes next, when there are no more, and what became of them."""

import math
import time
from collections.abc import Callable, Mapping

from paredown.search.budget import Budget
from paredown.search.errors import ClusterLost, SearchAborted
from paredown.search.interruption import TIME_IS_UP as TIME_IS_UP
from paredown.search.interruption import StopRequest
from paredown.search.listener import ProgressListener
from paredown.search.patience import Patience
from paredown.search.remote_device.bench import Bench
from paredown.search.schedulers.halving import Halving
from paredown.search.schedulers.judge import Judge
from paredown.spaces.candidate import Candidate
from paredown.spaces.space import SearchSpace
from paredown.studies.front import Model
from paredown.studies.result import CAUSE, PARKED, TRAINED, Cause, PendingTrial, TrialResult
from paredown.studies.study import MAX_DEATHS, Study

MAX_SKIPPED = 500
"""Number of rejected or known candidates in a row that ends the search."""
CUT_S = 3.0
"""Seconds after the deadline in which a running trial may come to its next batch, and end there by itself."""
STOPPED = "stopped; the same command goes on"


class TrialQueue:
    """Hands out the trials of a study until the budget is spent.

    Trials that were trained, if only in part, count towards the budget; rejected and known candidates cost next to
    nothing and do not count. Others start after the baseline, or beside it and wait where they need it.

    Attributes:
        listener: Told what happens. The queue tells it of trials; drivers report epochs through `report`.
        halving: Stops running trials early; None: all run to their end.
        counted: Returns the costs of an untrained candidate that were counted before, by metric.
        judge: Decides which running trials end early.
        stop: Whether the user or the system has asked the search to stop.
        stopped: Why there are no more trials; empty while there are.
        asking_s: Seconds spent in database, sampler and listener while a worker had nothing to do.
        preparing_s: Seconds spent there while every worker was busy.
    """

    def __init__(
        self,
        study: Study,
        space: SearchSpace,
        budget: Budget,
        listener: ProgressListener,
        halving: Halving | None = None,
        counted: Callable[[Candidate], Mapping[str, float]] = lambda candidate: {},
        stop: StopRequest | None = None,
        trouble: Callable[[TrialResult], str] = lambda result: "",
        bench: Bench | None = None,
    ) -> None:
        self._study, self._space, self._budget = study, space, budget
        self._running: set[int] = set()
        self._skipped = self._failures = 0
        self._baseline = study.baseline()
        self._baseline_number: int | None = None
        self._renewed, self._is_waiting = -math.inf, False
        self._prepared: list[PendingTrial] = []
        self._patience = Patience(study, budget.patience_trials)
        self.listener, self.halving, self.counted, self.judge = listener, halving, counted, Judge(halving, study)
        self.stop, self._trouble = stop or StopRequest(), trouble
        self.stopped, self.asking_s, self.preparing_s = "", 0.0, 0.0
        self._bench: Bench | None = None
        self.renew()
        self._bench = bench  # only now: the search has not been told to have started

    @property
    def baseline(self) -> Model | None:
        """The finished baseline; None until it is done."""
        return self._baseline

    @property
    def running(self) -> frozenset[int]:
        """Numbers of the trials that were handed out and have not ended."""
        return frozenset(self._running)

    @property
    def is_spent(self) -> bool:
        """Whether the budget is spent, so that no trial will start."""
        return self._is_over()

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the deadline, negative after it; None where there is none."""
        return None if self._budget.deadline is None else self._budget.deadline - time.monotonic()

    @property
    def must_cut(self) -> bool:
        """Whether trials that still run are to be cut off now, by force where they do not end by themselves."""
        left = self.seconds_left
        return self.stop.is_asked or (left is not None and left < -CUT_S)

    def find_baseline(self) -> Model | None:
        """Return the baseline as `baseline` does, once it is done anywhere: another search may have finished it."""
        if self._baseline is None:
            self._baseline = self._study.baseline()
        return self._baseline

    def next(self, *, beside: bool = False) -> PendingTrial | None:
        """Return a trial to start now; None to wait for a running one, or for good where `stopped` says why.

        While this search waits for trials of another one, it takes those over whose leases lapse.
        """
        start = time.perf_counter()
        try:
            self.renew()
            pending = None
            runs_here, is_lost = self._baseline_number in self._running, self._has_lost_baseline()
            if self._waits_for_baseline() and not is_lost and not (beside and runs_here):
                self._is_over()  # the deadline holds also while another search runs the baseline
            elif (self._baseline is None and not runs_here) or not self._prepared:
                pending = self._proposed()
            elif not self._is_over():
                pending = self._prepared.pop(0)
            if pending is not None and self.find_baseline() is None:
                if pending.candidate.digest == self._study.baseline_candidate.digest:
                    self._baseline_number = pending.number
                elif not (beside and runs_here):  # another search began the baseline a moment ago
                    self._prepared.append(pending)
                    return None
            if pending is not None:
                self._running.add(pending.number)
                self.listener.started(pending)
            return pending
        finally:
            self.asking_s += time.perf_counter() - start

    def prepare(self, workers: int) -> None:
        """Ask for the next trial while no worker could start it, so that no worker has to wait for the sampler.

        While the baseline runs, one trial is prepared for each worker; later, one at a time. The sampler then knows
        nothing of the trials that finish in the meantime. If the search ends before a prepared trial is handed out,
        the next search starts with it.
        """
        if len(self._prepared) < (workers if self._baseline is None else 1):
            start = time.perf_counter()
            if (pending := self._proposed()) is not None:
                self._prepared.append(pending)
            self.preparing_s += time.perf_counter() - start

    def _waits_for_baseline(self) -> bool:
        """Return whether the baseline runs, here or elsewhere; trials that are prepared here run only after it."""
        if self._baseline is None:
            counts = self._study.counts()
            if counts.get("running", 0) > len(self._prepared) or PARKED in counts:
                return self.find_baseline() is None
        return False

    def _has_lost_baseline(self) -> bool:
        """Return whether the baseline's process died here, so that it runs again although others wait for it."""
        is_gone = self._baseline is None and self._baseline_number not in {None, *self._running}
        return is_gone and "waiting" in self._study.counts()

    def is_baseline(self, number: int) -> bool:
        """Return whether a trial is the baseline's."""
        return number == self._baseline_number

    def _proposed(self) -> PendingTrial | None:
        while not self._is_over(len(self._prepared)):
            pending = self._study.ask(self._space.sample, self._budget.trials)
            if pending is not None:
                return pending
            self._skipped += 1
            self.listener.skipped()
        return None

    def report(self, number: int, epoch: int, epochs: int, metrics: Mapping[str, float], *, spared: bool) -> str:
        """Take what a running trial shows after an epoch, and return why it ends here; empty: it goes on.

        For the arguments see `Judge.judge`.
        """
        self.listener.epoch(number, epoch, metrics)
        return self.judge.judge(number, epoch, epochs, metrics, spared=spared)

    def tell(self, number: int, result: TrialResult) -> None:
        """Store the result of a trial.

        Raises:
            SearchAborted: The baseline failed, too many trials in a row failed, or the study's data or outputs are
                gone, which is no fault of the trial: it runs again.
        """
        if number not in self._running:
            return  # told before
        if result.outcome == "failed" and (why := self._trouble(result)):
            self.cut(number)
            raise SearchAborted(why)
        start = time.perf_counter()
        self._running.discard(number)
        stored = self._study.tell(number, result)
        self.find_baseline()
        if stored is None:
            self.listener.given_back(number, "another search took it over; this result is kept, but does not count")
        elif stored.outcome == PARKED and self._bench is not None:
            self._bench.take(number)
        else:
            self._ended(number, stored)
        self.asking_s += time.perf_counter() - start

    def _ended(self, number: int, result: TrialResult) -> None:
        self.judge.learn(result)
        self.listener.finished(number, result)
        self._judge_health(number, result)

    def _judge_health(self, number: int, result: TrialResult) -> None:
        if self._baseline is None and self.is_baseline(number):
            raise SearchAborted(f"the baseline (trial {number}) {result.outcome}: {result.reason}")
        if result.outcome == "rejected":
            self._skipped += 1
            return
        self._skipped = 0
        self._failures = self._failures + 1 if result.outcome == "failed" else 0
        if self._failures >= self._budget.max_failures:
            raise SearchAborted(f"{self._failures} trials in a row failed; the last one: {result.reason}")

    def retry(self, number: int, reason: str) -> None:
        """Let a trial whose process died run again under its number; it fails where that happened too often.

        Raises:
            SearchAborted: As `tell`.
        """
        if number not in self._running:
            return
        if not self._study.lose(number):
            self.lose(number, f"{reason}, {MAX_DEATHS} times")
            return
        self.judge.forget(number)
        self._running.discard(number)
        self.listener.given_back(number, f"{reason}; it runs again")

    def lose(self, number: int, reason: str, cause: Cause = "killed") -> None:
        """Store the failure of a trial whose process is gone; the curve of the trial is lost with it.

        Raises:
            SearchAborted: As `tell`.
        """
        self.judge.forget(number)
        self.tell(number, TrialResult("failed", reason, facts={CAUSE: cause}))

    def cut(self, number: int) -> None:
        """Take back a running trial because the search ends: when the search leaves the study, it is in line again."""
        self.judge.forget(number)
        self._running.discard(number)
        self.listener.given_back(number, "cut off because the search ends; it runs again")

    def renew(self) -> None:
        """Renew the leases of this search and take over those that lapsed, at most every third of a lease.

        Raises:
            ClusterLost: A device has still to measure the baseline, and is away.
            SearchAborted: As `tell`, of a trial that a device has measured.
        """
        self.listener.tick()
        for number, result in () if self._bench is None else self._bench.news():
            if self.find_baseline() is None and result.outcome == PARKED:
                raise ClusterLost(
                    f"the baseline waits: {result.reason}; the same command goes on once the device is back"
                )
            self._ended(number, result)
        runner, now = self._study.runner, time.monotonic()
        if now - self._renewed > runner.lease_s / 3:
            self._renewed = now
            if runner.trouble:
                self.listener.remark(f"the leases of this search could not be renewed: {runner.trouble}; trying again")
            runner.renew()
            self._study.recover()

    def _is_over(self, promised: int = 0) -> bool:
        """Return whether no further trial may start now; set `stopped` where none will."""
        counts = self._study.counts()
        self.listener.counted(counts)
        spent = sum(counts.get(state, 0) for state in TRAINED)
        reason, is_closing = "", False
        running = counts.get("running", 0) - len(self._prepared)
        if spent >= self._budget.trials:
            reason = f"{spent} trials are done"
            self._study.recover()
            is_closing = self._study.withdraw_abandoned(self._space.sample)
        elif self.stop.is_asked:
            reason = STOPPED
        elif self._budget.deadline is not None and time.monotonic() > self._budget.deadline:
            reason = TIME_IS_UP
        elif self._skipped >= MAX_SKIPPED:
            reason = f"the last {self._skipped} candidates were known or rejected: little of the space is left"
        elif self._patience.is_lost(spent):
            trials = self._budget.patience_trials
            reason = f"the last {trials} finished trials brought no gain of hypervolume (patience_trials)"
        is_measuring = self._bench is not None and self._bench.is_busy and not self.must_cut
        if reason and not self._running and not is_closing and not is_measuring:
            self.stopped = reason
        is_full = spent + running + promised >= self._budget.trials
        if is_full and not (reason or self._running or self._is_waiting):
            self._is_waiting = True
            self.listener.remark(f"waiting for the last trials of another search of this study: {running}")
        return bool(reason) or is_full
