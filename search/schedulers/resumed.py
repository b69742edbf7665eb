"""A study's scheduler, as if the search had not been stopped."""

from paredown.search.schedulers.halving import Halving
from paredown.search.trial.plan import TrialPlan
from paredown.spaces.candidate import Candidate
from paredown.studies.result import UNTRAINED_KEY
from paredown.studies.study import Study


def resume(halving: Halving, study: Study, plan: TrialPlan) -> Halving:
    """Record in it what the study's trials showed at their rungs, and return it.

    Trials of runs without early stopping did not measure all costs before training; they stand with those
    measured at their end.

    Args:
        halving: New.
        study: With the curves of its trials.
        plan: How they are trained.
    """
    names = {o.metric.name for o in plan.objectives if o.metric.untrained_tolerance is not None}
    curves, measured = study.curves(), study.measured()
    for row in study.rows():
        number, epochs = row["number"], plan.epochs(Candidate.from_json(row["candidate"]))
        final = {name: m.value for name, m in measured.get(number, {}).items() if name in names}
        costs = final | row["facts"].get(UNTRAINED_KEY, {})
        for epoch, metrics in curves.get(number, []):
            halving.record(number, epoch + 1, epochs, halving.losses(costs | metrics))
    return halving
