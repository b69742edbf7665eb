"""What a search has come to so far, in figures: what its display, its log and its status file show."""

import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from paredown.evaluators.metrics.accuracy import METRIC as ACCURACY
from paredown.search.listener import ProgressListener, SearchStart
from paredown.search.monitoring.trial_durations import TrialDuration, TrialDurations
from paredown.studies.result import MEASURED_BY, PARKED, TRAINED, PendingTrial, TrialResult

RECENT_FAILURES = 5


@dataclass
class RunningTrial:
    """A trial that runs.

    Attributes:
        trial: The trial.
        since: Unix time at which it started.
        epochs: Number of epochs that it has finished.
        metrics: Metrics after the latest of them.
    """

    trial: PendingTrial
    since: float
    epochs: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return running_text(self.epochs, self.metrics)


def running_text(epochs: int, metrics: Mapping[str, float]) -> str:
    """Return how far a trial is, as text."""
    if not epochs:
        return "builds"
    shown = f", {ACCURACY.name} {ACCURACY.format(metrics[ACCURACY.name])}" if ACCURACY.name in metrics else ""
    return f"epoch {epochs}{shown}"


class SearchProgress(ProgressListener):
    """Counts what happens.

    Attributes:
        start: What stood before the first trial.
        counts: Number of trials by state.
        running: Trials that run, by number.
        failures: The latest failures, with the reasons.
        supernet: What is trained before the trials; empty where nothing is.
    """

    def __init__(self) -> None:
        self.start = SearchStart("", (), 0, None, (), {})
        self.counts: Counter[str] = Counter()
        self.running: dict[int, RunningTrial] = {}
        self.failures: deque[tuple[int, TrialResult]] = deque(maxlen=RECENT_FAILURES)
        self.supernet = ""
        self._begun: dict[int, float] = {}
        self._free_since: list[float] = []
        self._durations = TrialDurations("")
        self._finished_here = 0

    def supernet_epoch(self, family: str, epoch: int, epochs: int) -> None:
        """Keep how far a supernet is."""
        self.supernet = f"supernet of {family}: epoch {epoch} of {epochs}"

    def supernet_awaited(self, family: str) -> None:
        """Keep whose supernet is awaited."""
        self.supernet = f"supernet of {family}: another process trains it"

    def search_started(self, start: SearchStart) -> None:
        """Begin with what earlier runs came to."""
        self.start, self.supernet = start, ""
        self._durations = TrialDurations(start.sampler, start.stopped_share)
        self.counts = Counter({state: n for state, n in start.counts.items() if state not in ("running", "waiting")})

    def started(self, trial: PendingTrial) -> None:
        """Keep a trial that starts."""
        self.running[trial.number] = RunningTrial(trial, time.time())
        # From the end of the worker's trial before: the sampler takes its time, too.
        self._begun[trial.number] = self._free_since.pop() if self._free_since else time.monotonic()

    def epoch(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Keep how far a trial is."""
        if number in self.running:
            self.running[number].epochs, self.running[number].metrics = epoch + 1, metrics

    def given_back(self, number: int, reason: str) -> None:
        """Forget a trial that was cut off."""
        if self.running.pop(number, None) is not None:
            self._begun.pop(number)

    def skipped(self) -> None:
        """Count a candidate that was known."""
        self.counts["duplicate"] += 1

    def finished(self, number: int, result: TrialResult) -> None:
        """Count a trial, and what was derived from it."""
        has_waited = self.running.pop(number, None) is None  # for its device: its time went by before
        begun, now = self._begun.pop(number, 0.0), time.monotonic()
        if result.outcome != PARKED:  # which the study counts from the moment at which it is stored
            self.counts[result.outcome] += 1
        if MEASURED_BY in result.facts:
            self.counts[PARKED] = max(0, self.counts[PARKED] - 1)
        self.counts["derived"] += len(result.derived)
        if not has_waited and result.outcome in TRAINED:
            self._durations.add(number, TrialDuration.of(result, now - begun))
            self._free_since.append(now)
            self._finished_here += 1
        elif not has_waited:
            self._free_since.append(begun)  # a rejected trial is part of the next one's time
        if result.outcome == "failed":
            self.failures.append((number, result))

    def counted(self, counts: Mapping[str, int]) -> None:
        """Take over what the study holds: other searches of it may have finished trials."""
        for state in TRAINED:
            self.counts[state] = counts.get(state, 0)

    @property
    def spent(self) -> int:
        """Number of trials that count towards the budget."""
        return sum(self.counts[state] for state in TRAINED)

    @property
    def trials_left(self) -> int:
        """Number of trials until the budget is spent."""
        return max(0, self.start.trials - self.spent)

    @property
    def trial_s(self) -> float | None:
        """Mean seconds of the latest trials, the last ones weighing most; None before the first has ended."""
        return self._durations.trial_s

    @property
    def deadline_s(self) -> float | None:
        """Seconds until the deadline; None where there is none."""
        return None if self.start.deadline is None else max(0.0, self.start.deadline - time.monotonic())

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the search ends, by its latest trials and its deadline; None as long as nothing tells."""
        return min((s for s in (self.needed_s, self.deadline_s) if s is not None), default=None)

    @property
    def needed_s(self) -> float | None:
        """Seconds that the trials left take, deadline or not; None as long as nothing tells."""
        halfway = self.spent + self.trials_left / 2
        later_trial_s = self._durations.later_trial_s(halfway / self.spent if self.spent else 1.0)
        if self.trial_s is None or later_trial_s is None:
            return None
        begun = list(self._begun.values())[: self.trials_left]
        running = sum(max(0.0, self.trial_s - (time.monotonic() - since)) for since in begun)
        waiting = later_trial_s * (self.trials_left - len(begun))
        return self._share * (running + waiting) / max(1, min(self.start.workers, self.trials_left))

    @property
    def _share(self) -> float:
        """Share of this search in what was finished since it began; others of the same study do the rest."""
        since = self.spent - sum(self.start.counts.get(state, 0) for state in TRAINED)
        return self._finished_here / since if 0 < self._finished_here < since else 1.0

    @property
    def left(self) -> str:
        """Trials and time left, as text."""
        trials = f"{self.trials_left} trial{'' if self.trials_left == 1 else 's'}"
        return trials + left_text(self.needed_s, self.deadline_s)

    def ended_line(self, number: int, result: TrialResult) -> str:
        """Return one line about a trial that has ended."""
        values = ", ".join(
            f"{m.name} {m.format(result.measurements[m.name].value)}"
            for m in self.start.metrics
            if m.name in result.measurements
        )
        said = result.reason.splitlines()[0] if result.reason else values
        return f"trial {number} {result.outcome}: {said} [{self.spent} of {self.start.trials}, {self.left}]"

    @property
    def running_line(self) -> str:
        """One line about all that runs."""
        trials = "; ".join(f"trial {number} {trial}" for number, trial in sorted(self.running.items()))
        return f"{self.supernet or trials or 'no trial'} [{self.spent} of {self.start.trials}, {self.left}]"


def left_text(needed_s: float | None, deadline_s: float | None) -> str:
    """Return the time left, or that to the deadline where that comes first; empty where nothing tells."""
    if deadline_s is not None and (needed_s is None or deadline_s < needed_s):
        return f", {time_text(deadline_s)} to the deadline"
    return "" if needed_s is None else f", {time_text(needed_s)} left"


def time_text(seconds: float) -> str:
    """Return a duration as people read it, such as `12:05` or `3 h 20 min`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes}:{rest:02d}"
