"""Selects the best model that keeps given limits."""

from collections.abc import Mapping, Sequence

from paredown.evaluators.metrics.measurement import Metric, Objective
from paredown.studies.errors import NothingFits
from paredown.studies.front import Model, front
from paredown.studies.records import Records


def best_models(study: Records) -> list[Model]:
    """Return the study's front."""
    return front(study.models(), study.optimised_metrics)


def select(models: Sequence[Model], objectives: Sequence[Metric], limits: Sequence[Objective]) -> Model:
    """Return the best model that keeps every limit.

    The best model has the best value of the first objective; the next objectives decide ties in order.

    Args:
        models: Finished trials; infeasible ones are ignored.
        objectives: Metrics in order of importance.
        limits: Limits, each with its worst acceptable value.

    Raises:
        NothingFits: No model keeps the limits; the message names the nearest model and the limits that it breaks.
    """
    feasible = [m for m in models if m.feasible]
    measured = {name for m in feasible for name in m.measurements}
    for limit in limits:
        if limit.metric.name not in measured:
            raise NothingFits(f"no model has {limit.metric.name}; measured: {', '.join(sorted(measured)) or 'nothing'}")
    fitting = [m for m in feasible if all(o.violation(m[o.metric.name]) <= 0 for o in limits)]
    if fitting:
        return min(fitting, key=lambda m: [*(metric.loss(m[metric.name]) for metric in objectives), m.trial])
    if not feasible:
        raise NothingFits("the study has no finished model yet; run `paredown search` first")
    nearest = min(feasible, key=lambda m: max(o.violation(m[o.metric.name]) for o in limits))
    broken = [o.describe(nearest[o.metric.name]) for o in limits if o.violation(nearest[o.metric.name]) > 0]
    raise NothingFits(
        f"none of {len(feasible)} models keeps the limits; the nearest is trial {nearest.trial}: {'; '.join(broken)}"
    )


def chosen_among(models: Sequence[Model], numbers: Sequence[int]) -> list[Model]:
    """Return the models of the given trials, in that order.

    Raises:
        NothingFits: A trial is not finished or does not exist.
    """
    by_number: Mapping[int, Model] = {m.trial: m for m in models}
    for number in numbers:
        if number not in by_number:
            raise NothingFits(f"trial {number} is no finished model; `paredown show` lists them")
    return [by_number[number] for number in numbers]
