"""Which trial comes next, and when there is none: the budget of a search."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from paredown.search.errors import SearchAborted
from paredown.search.schedulers.halving import Halving
from paredown.spaces.space import SearchSpace
from paredown.studies.front import Model, front, hypervolume
from paredown.studies.result import FINISHED, PendingTrial, TrialResult
from paredown.studies.study import Study

MAX_SKIPPED = 500
"""So many rejected or known candidates in a row end the search."""
RENEW_S = 20.0
TIME_IS_UP = "the time is up"


class ProgressListener(Protocol):
    """Told what happens, to show it."""

    def started(self, asked: PendingTrial) -> None:
        """A trial starts."""

    def epoch(self, number: int, epoch: int, metrics: dict[str, float]) -> None:
        """A running trial has finished an epoch."""

    def finished(self, number: int, result: TrialResult) -> None:
        """A trial has ended."""

    def skipped(self) -> None:
        """The sampler proposed a known candidate."""


@dataclass(frozen=True)
class Budget:
    """When a search ends.

    Attributes:
        trials: The study has so many finished trials: done, stopped early or failed.
        deadline: `time.monotonic()` after which no trial starts; None for no limit.
        max_failures: So many trials in a row failed.
        patience_trials: Number of finished trials in a row without gain of hypervolume; None for no limit.
    """

    trials: int
    deadline: float | None = None
    max_failures: int = 10
    patience_trials: int | None = None


class TrialQueue:
    """Hands out trials of a study until the budget is spent.

    Trials that were trained count, also in part; rejected and known ones cost next to nothing and do not. The
    baseline runs alone: all others are compared with it.

    Attributes:
        halving: Judges running trials; None: all run to their end.
        stopped: Why there are no more trials; empty while there are.
        asking_s: Time spent in the study's database and sampler while a worker had nothing to do.
        preparing_s: The same while none had.
    """

    def __init__(
        self,
        study: Study,
        space: SearchSpace,
        budget: Budget,
        watcher: ProgressListener,
        halving: Halving | None = None,
    ) -> None:
        self._study, self._space, self._budget, self._watcher = study, space, budget, watcher
        self._running: set[int] = set()
        self._skipped = self._failures = 0
        self._baseline = study.baseline()
        self._renewed = 0.0
        self._prepared: list[PendingTrial] = []
        self.halving = halving
        self.stopped = ""
        self.asking_s = self.preparing_s = 0.0
        study.recover()

    @property
    def baseline(self) -> Model | None:
        """The finished reference, once there is one."""
        return self._baseline

    @property
    def running(self) -> frozenset[int]:
        """Numbers of the trials handed out and not yet told."""
        return frozenset(self._running)

    @property
    def is_spent(self) -> bool:
        """Whether the budget is spent, so that no trial will start."""
        return self._is_over()

    def next(self) -> PendingTrial | None:
        """Return a trial to start now; None to wait for a running one, or where `stopped` says why."""
        start = time.perf_counter()
        try:
            if self._prepared:
                waits = self._waits_for_baseline() or self._is_over()
                asked = None if waits else self._prepared.pop(0)
            else:
                asked = self._ask()
            if asked is not None:
                self._running.add(asked.number)
                self._watcher.started(asked)
            return asked
        finally:
            self.asking_s += time.perf_counter() - start

    def prepare(self, workers: int) -> None:
        """Ask for the next trial while no worker could start it, so that none will wait for the sampler.

        While the baseline runs, one for each worker is prepared, later one at a time. The sampler then knows less by
        the trials that finish meanwhile; a search that ends before the trial is handed out leaves it in line for
        the next one.
        """
        if len(self._prepared) < (workers if self._baseline is None else 1):
            start = time.perf_counter()
            if (asked := self._proposed()) is not None:
                self._prepared.append(asked)
            self.preparing_s += time.perf_counter() - start

    def _waits_for_baseline(self) -> bool:
        if self._baseline is None and self._study.counts().get("running"):
            self._baseline = self._study.baseline()  # another process may have finished it
            return self._baseline is None
        return False

    def _ask(self) -> PendingTrial | None:
        return None if self._waits_for_baseline() else self._proposed()

    def _proposed(self) -> PendingTrial | None:
        while not self._is_over(len(self._prepared)):
            asked = self._study.ask(self._space.sample)
            if asked is not None:
                return asked
            self._skipped += 1
            self._watcher.skipped()
        return None

    def tell(self, number: int, result: TrialResult) -> None:
        """Store the outcome of a trial.

        Raises:
            SearchAborted: It was the baseline and it failed, or too many trials in a row failed.
        """
        start = time.perf_counter()
        if number not in self._running:
            return  # told before
        self._running.discard(number)
        result = self._study.tell(number, result)
        if self._baseline is None:
            self._baseline = self._study.baseline()
        self.asking_s += time.perf_counter() - start
        self._watcher.finished(number, result)
        if self._baseline is None:
            raise SearchAborted(f"the baseline (trial {number}) {result.outcome}: {result.reason}")
        if result.outcome == "rejected":
            self._skipped += 1
            return
        self._skipped = 0
        self._failures = self._failures + 1 if result.outcome == "failed" else 0
        if self._failures >= self._budget.max_failures:
            raise SearchAborted(f"{self._failures} trials in a row failed; the last one: {result.reason}")

    def judge(self, number: int, epoch: int, epochs: int, metrics: Mapping[str, float]) -> str:
        """Return why a running trial ends here; empty: it goes on.

        Args:
            number: Of the trial.
            epoch: The one it has finished, counted from 0.
            epochs: How many are planned for it.
            metrics: By name, with the costs among the objectives.
        """
        if self.halving is None:
            return ""
        losses = self.halving.losses(metrics)
        return self.halving.judge(number, epoch + 1, epochs, losses, spared=self._baseline is None)

    def lose(self, number: int, reason: str) -> None:
        """Store that a trial's process died; its curve is lost with it.

        Raises:
            SearchAborted: As `tell`.
        """
        if self.halving is not None:
            self.halving.forget(number)
        self.tell(number, TrialResult("failed", reason))

    def renew(self) -> None:
        """Renew the leases, at most every 20 s."""
        if time.monotonic() - self._renewed > RENEW_S:
            self._study.renew(sorted(self._running | {asked.number for asked in self._prepared}))
            self._renewed = time.monotonic()

    def _is_over(self, promised: int = 0) -> bool:
        counts = self._study.counts()
        spent = sum(counts.get(state, 0) for state in FINISHED)
        reason = ""
        running, patience = counts.get("running", 0) - len(self._prepared), self._budget.patience_trials
        if spent + running + promised >= self._budget.trials:
            reason = f"{spent} trials are done"
        elif self._budget.deadline is not None and time.monotonic() > self._budget.deadline:
            reason = TIME_IS_UP
        elif self._skipped >= MAX_SKIPPED:
            reason = f"the last {self._skipped} candidates were known or rejected: little of the space is left"
        elif patience is not None and trials_without_gain(self._study) >= patience:
            reason = f"the last {patience} finished trials brought no gain of hypervolume (patience_trials)"
        if reason and not self._running:
            self.stopped = reason
        return bool(reason)


def trials_without_gain(study: Study) -> int:
    """Return how many trials have finished, by number, since the hypervolume last grew.

    It is read from the study each time, so it is the same for all who search it, also after a stop.
    """
    baseline, metrics = study.baseline(), [o.metric for o in study.objectives if o.optimised]
    if baseline is None:
        return 0
    kept: list[Model] = []
    share, last = 0.0, baseline.trial
    for model in study.models():
        better = front([*kept, model], metrics)
        if model in better and (grown := hypervolume(better, metrics, baseline)) > share:
            share, last = grown, model.trial
        kept = better
    finished = [row for row in study.rows() if row["state"] in FINISHED and row["parent"] is None]
    return sum(row["number"] > last for row in finished)
