"""How long a study has gained nothing."""

from paredown.studies.front import Model, front, hypervolume
from paredown.studies.result import FINISHED
from paredown.studies.study import Study


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
