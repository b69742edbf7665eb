"""What a search tells while it runs, so that a terminal, a notebook or a service can show it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paredown.evaluators.metrics.measurement import Metric, Objective
from paredown.studies.front import Model
from paredown.studies.result import PendingTrial, TrialResult


@dataclass(frozen=True)
class SearchStart:
    """What stands when the first trial is about to start.

    Attributes:
        study: Name of the study.
        metrics: Metrics that are optimised.
        trials: Total number of finished trials at which the search ends.
        deadline: `time.monotonic()` after which no trial starts; None for no limit.
        models: Models of earlier runs, the baseline first.
        counts: Number of trials of earlier runs by state.
        workers: Number of trials at a time.
        sampler: Name of the sampler.
        objectives: Metrics that are optimised or limited, as far as their limits are known.
        stopped_share: Share of the trials that successive halving stops in the end; 0 without it.
    """

    study: str
    metrics: Sequence[Metric]
    trials: int
    deadline: float | None
    models: Sequence[Model]
    counts: Mapping[str, int]
    workers: int = 1
    sampler: str = ""
    objectives: Sequence[Objective] = ()
    stopped_share: float = 0.0


class ProgressListener:
    """Told what happens; a subclass overrides what it shows. This class itself ignores everything."""

    def probed(self, done: int, total: int) -> None:
        """So many untrained candidates of a sample were measured, and none keeps the limits; all: that is over."""

    def supernet_epoch(self, family: str, epoch: int, epochs: int) -> None:
        """The supernet of a family has trained `epoch` of its epochs; 0 when its training starts."""

    def supernet_awaited(self, family: str) -> None:
        """Another process trains the supernet of a family, and this one waits for it."""

    def supernet_finished(self, family: str, epochs: int, seconds: float) -> None:
        """The supernet of a family is trained: now, or already before this search."""

    def remark(self, text: str) -> None:
        """Something that the user should know, and that ends nothing."""

    def search_started(self, start: SearchStart) -> None:
        """The first trial is about to start."""

    def started(self, trial: PendingTrial) -> None:
        """A trial starts."""

    def epoch(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """A running trial has finished an epoch, counted from 0."""

    def finished(self, number: int, result: TrialResult) -> None:
        """A trial has ended."""

    def given_back(self, number: int, reason: str) -> None:
        """A trial leaves this search without a result that counts, and why; it runs again, here or elsewhere."""

    def tick(self) -> None:
        """Time has passed: told every few seconds at least while trials run."""

    def skipped(self) -> None:
        """The sampler proposed a known candidate."""

    def counted(self, counts: Mapping[str, int]) -> None:
        """The number of the study's trials by state, those of other searches among them."""

    def search_ended(self) -> None:
        """The search ends, also by an error, and also before the first trial."""


SILENT = ProgressListener()
"""Shows nothing."""
