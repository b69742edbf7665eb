"""Decides whether a running trial continues; every driver asks after each epoch."""

from collections.abc import Mapping, Sequence

from paredown.evaluators.metrics.accuracy import METRIC as ACCURACY
from paredown.evaluators.metrics.measurement import Objective
from paredown.search.schedulers.halving import Halving
from paredown.search.schedulers.recovery import Recovery
from paredown.studies.result import TrialResult
from paredown.studies.study import Study


class Judge:
    """Stops trials early: by successive halving, and where compression has cost more than fine-tuning brings back.

    Args:
        halving: Successive halving; None lets trials run past its rungs.
        study: The study, from whose finished trials it learns; None where it judges epochs alone.
    """

    def __init__(self, halving: Halving | None, study: Study | None = None) -> None:
        self._halving, self._study = halving, study
        self._recovery: Recovery | None = None

    def learn(self, result: TrialResult) -> None:
        """Take in a trial that has ended."""
        if self._recovery is not None and result.outcome == "done":
            self._recovery.learn(result.facts, result.measurements)

    def least_accuracy(self, objectives: Sequence[Objective]) -> tuple[float, float]:
        """Return the accuracies below which a compressed trial is hopeless; see `TrialPlan.least_accuracy`."""
        limits = [o.limit for o in objectives if o.metric == ACCURACY and o.limit is not None]
        if not limits or self._study is None:
            return 0.0, 0.0
        if self._recovery is None:
            self._recovery = Recovery.of(self._study)
        return self._recovery.least_accuracy(limits[0])

    def judge(self, number: int, epoch: int, epochs: int, metrics: Mapping[str, float], *, spared: bool) -> str:
        """Return why a running trial stops here, or an empty text where it continues.

        Args:
            number: Number of the trial.
            epoch: The epoch that it has just finished, counted from 0.
            epochs: Number of epochs planned for it.
            metrics: Values by name, with the costs among the objectives.
            spared: Whether it continues in any case, as the baseline does.
        """
        if self._halving is None:
            return ""
        return self._halving.judge(number, epoch + 1, epochs, self._halving.losses(metrics), spared=spared)

    def forget(self, number: int) -> None:
        """Remove a trial whose process died."""
        if self._halving is not None:
            self._halving.forget(number)
