"""Restores a study's scheduler to the state in which the search left it."""

from paredown.search.schedulers.halving import Halving
from paredown.search.trial.plan import TrialPlan
from paredown.spaces.candidate import Candidate
from paredown.studies.result import UNTRAINED_KEY
from paredown.studies.study import Study


def resume(halving: Halving, study: Study, plan: TrialPlan) -> Halving:
    """Record the study's trials at their rungs in a scheduler, and return it.

    Trials of runs without early stopping did not measure all costs before training; the costs measured at their end
    take their place.

    Args:
        halving: A new scheduler.
        study: The study, with the curves of its trials.
        plan: Plan of the trials.
    """
    names = {o.metric.name for o in plan.objectives if o.metric.untrained_tolerance is not None}
    baseline = study.baseline_candidate.digest
    curves, measured = study.curves(), study.measured()
    for row in study.rows():
        candidate = Candidate.from_json(row["candidate"])
        number, epochs, spared = row["number"], plan.epochs(candidate), candidate.digest == baseline
        final = {name: m.value for name, m in measured.get(number, {}).items() if name in names}
        costs = final | row["facts"].get(UNTRAINED_KEY, {})
        for epoch, metrics in curves.get(number, []):
            halving.record(number, epoch + 1, epochs, halving.losses(costs | metrics), spared=spared)
    return halving
