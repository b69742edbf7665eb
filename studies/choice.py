"""Chooses a model under limits and says why: which limit binds, what comes next, what a looser limit would buy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from paredown.evaluators.metrics.measurement import Metric, Objective, optimised_metrics
from paredown.studies.errors import NothingFits
from paredown.studies.front import Model, front, losses
from paredown.studies.region import binding_text, worst_violation

ORDERS = ("first", "knee", "weights")


@dataclass(frozen=True)
class Binding:
    """A limit that keeps a better model out.

    Attributes:
        limit: The limit.
        model: Best model, in the first objective, that breaks this limit alone.
        excess: By what share of the limit it is beyond it.
    """

    limit: Objective
    model: Model
    excess: float


@dataclass(frozen=True)
class Choice:
    """The model that was chosen and what stands beside it.

    Attributes:
        model: The best model that keeps every limit.
        next_best: The model after it in the same order; None where it is the only one.
        binding: Limits that keep models out which are better in the first objective, the smallest excess first.
        fitting: Number of models that keep every limit.
        considered: Number of models that were looked at.
    """

    model: Model
    next_best: Model | None
    binding: tuple[Binding, ...]
    fitting: int
    considered: int


def choose(
    models: Sequence[Model],
    objectives: Sequence[Objective],
    limits: Sequence[Objective] = (),
    order: str = "first",
    weights: Mapping[str, float] | None = None,
) -> Choice:
    """Choose among finished trials.

    Args:
        models: Finished trials; infeasible ones are ignored, unless the limit that they break is given anew.
        objectives: Objectives of the study, in order of importance; their limits hold for the metrics that `limits`
            does not name.
        limits: Limits, each with its worst acceptable value.
        order: `first` takes the best in the first objective, ties decided by the next; `knee` the model nearest to
            the best of every objective, each scaled to the range of the front; `weights` the least weighted sum of
            these scaled losses.
        weights: Metric to its weight, for the order `weights`; metrics that are not named count nothing.

    Raises:
        NothingFits: No model keeps the limits; the message names the nearest model and the limits that it breaks.
    """
    given, metrics = {limit.metric.name for limit in limits}, optimised_metrics(objectives)
    others = [objective for objective in objectives if objective.metric.name not in given]
    anew = any(objective.is_limited and objective.metric.name in given for objective in objectives)
    usable = [m for m in models if m.feasible or (anew and not m.refusal and worst_violation(m, others)[1] <= 0)]
    if not usable:
        nearest = binding_text([replace(m, feasible=False) for m in models], others)
        raise NothingFits(nearest or "the study has no finished model yet; run `paredown search` first")
    measured = {name for m in usable for name in m.measurements}
    for limit in limits:
        if limit.metric.name not in measured:
            raise NothingFits(f"no model has {limit.metric.name}; measured: {', '.join(sorted(measured))}")
    fitting = [m for m in usable if not _broken(m, limits)]
    if not fitting:
        raise NothingFits(_nearest(usable, limits, len(models)))
    ranked = _ranked(fitting, metrics, order, weights or {})
    best = ranked[0]
    return Choice(
        best,
        ranked[1] if len(ranked) > 1 else None,
        _binding(usable, best, metrics[0], limits),
        len(fitting),
        len(usable),
    )


def _broken(model: Model, limits: Sequence[Objective]) -> list[Objective]:
    return [o for o in limits if o.metric.name not in model.measurements or o.violation(model[o.metric.name]) > 0]


def _nearest(models: Sequence[Model], limits: Sequence[Objective], count: int) -> str:
    """Return in words which model breaks its limits by the least, and which these are."""
    known = [m for m in models if all(o.metric.name in m.measurements for o in limits)] or list(models)
    nearest = min(known, key=lambda m: max((_violation(o, m) for o in limits), default=0.0))
    broken = [
        o.describe(nearest[o.metric.name]) if o.metric.name in nearest.measurements else f"it has no {o.metric.name}"
        for o in _broken(nearest, limits)
    ]
    return f"none of {count} models keeps the limits; the nearest is trial {nearest.trial}: {'; '.join(broken)}"


def _violation(limit: Objective, model: Model) -> float:
    return limit.violation(model[limit.metric.name]) if limit.metric.name in model.measurements else float("inf")


def _ranked(
    models: Sequence[Model], objectives: Sequence[Metric], order: str, weights: Mapping[str, float]
) -> list[Model]:
    if order == "first":
        return sorted(models, key=lambda m: [*(metric.loss(m[metric.name]) for metric in objectives), m.trial])
    # Scaled by the front: a single bad model would otherwise decide what counts as near.
    best = losses(front(models, objectives), objectives)
    low, extent = best.min(axis=0), np.ptp(best, axis=0)
    scaled = (losses(models, objectives) - low) / np.where(extent > 0, extent, 1.0)
    if order == "knee":
        scores = np.linalg.norm(scaled, axis=1)
    else:
        scores = scaled @ np.array([weights.get(metric.name, 0.0) for metric in objectives])
    return [models[i] for i in np.lexsort(([m.trial for m in models], scores))]


def _binding(models: Sequence[Model], best: Model, first: Metric, limits: Sequence[Objective]) -> tuple[Binding, ...]:
    found = []
    for limit in limits:
        kept_out = [
            m
            for m in models
            if _broken(m, limits) == [limit] and first.loss(m[first.name]) < first.loss(best[first.name])
        ]
        with_value = [m for m in kept_out if limit.metric.name in m.measurements]
        if with_value:
            model = min(with_value, key=lambda m: (first.loss(m[first.name]), _violation(limit, m)))
            found.append(Binding(limit, model, _violation(limit, model)))
    return tuple(sorted(found, key=lambda b: b.excess))
