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
