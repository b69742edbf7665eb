"""Whether a search still gains something."""

from paredown.studies.front import hypervolume_history
from paredown.studies.study import Study


def trials_without_gain(study: Study) -> int:
    """Return the number of trials that finished, by their number, after the hypervolume within the limits last grew.

    It is read from the study each time, so all processes that search the study come to the same number, also after a
    stop.
    """
    baseline, metrics = study.baseline(), study.optimised_metrics
    if baseline is None:
        return 0
    largest, last_gain = 0.0, baseline.trial
    for number, share in hypervolume_history(study.models(), metrics, baseline, study.limits):
        if share > largest:
            largest, last_gain = share, number
    return study.finished_after(last_gain)


class Patience:
    """Waits for a gain of hypervolume; the study is read again only where trials have finished since.

    Args:
        study: The study.
        trials: Number of finished trials without a gain that are too many; None for no such number.
    """

    def __init__(self, study: Study, trials: int | None) -> None:
        self._study, self._trials = study, trials
        self._seen, self._without = -1, 0

    def is_lost(self, finished: int) -> bool:
        """Return whether too many trials have brought no gain.

        Args:
            finished: Number of the study's finished trials by now.
        """
        if self._trials is None:
            return False
        if finished != self._seen:
            self._seen, self._without = finished, trials_without_gain(self._study)
        return self._without >= self._trials
