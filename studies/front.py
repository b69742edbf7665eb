"""Pareto fronts: non-dominated sets, hypervolume, knee."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import moocore
import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.evaluators.metrics.measurement import Measurement, Metric
from paredown.spaces.candidate import Candidate

REFERENCE_FACTOR = 1.1
"""Factor of the baseline's cost at which the reference point of the hypervolume lies where there is no limit."""
UNLIMITED: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Model:
    """A finished trial as people and programs see it.

    Attributes:
        trial: Number of the trial.
        candidate: Candidate that was built.
        measurements: Measurements by metric name.
        artifact: Folder of its files, relative to the study's folder.
        feasible: Whether it keeps every limit.
        refusal: Why the device of the study cannot run it; empty where it can.
    """

    trial: int
    candidate: Candidate
    measurements: Mapping[str, Measurement]
    artifact: str
    feasible: bool = True
    refusal: str = ""

    def __getitem__(self, metric: str) -> float:
        return self.measurements[metric].value

    @property
    def values(self) -> dict[str, float]:
        """Every value by metric name."""
        return {name: measurement.value for name, measurement in self.measurements.items()}


def losses(models: Sequence[Model], metrics: Sequence[Metric]) -> NDArray[np.float64]:
    """Return losses `n x m`, with one row per model and every metric minimised."""
    rows = [[metric.loss(model[metric.name]) for metric in metrics] for model in models]
    return np.array(rows, dtype=np.float64).reshape(len(models), len(metrics))


def front(models: Sequence[Model], metrics: Sequence[Metric]) -> list[Model]:
    """Return the feasible, non-dominated models, the best in the first metric first.

    Of models with equal values, only the earliest trial stays.
    """
    feasible = sorted((m for m in models if m.feasible), key=lambda m: m.trial)
    if not feasible:
        return []
    points = losses(feasible, metrics)
    is_best = moocore.is_nondominated(points)
    order = np.lexsort(points.T[::-1])
    return [feasible[i] for i in order if is_best[i]]


def hypervolume(
    models: Sequence[Model], metrics: Sequence[Metric], baseline: Model, limits: Mapping[str, float] = UNLIMITED
) -> float:
    """Return the share of the box between perfection and the reference point that the models dominate.

    The axis of a metric with a limit reaches to the limit. Without one, that of a cost reaches from 0 to 1.1 times the
    baseline's cost, that of a share such as accuracy from its highest value to 0. For a metric that can rise without
    bound, such as a throughput, the reciprocal is a cost. Each axis is scaled to 1, so that the result lies between 0
    and 1 whatever the units.

    Args:
        models: Finished trials; infeasible ones do not count.
        metrics: The axes.
        baseline: The reference trial.
        limits: The worst acceptable value, by metric.

    Source:
        Zitzler, Thiele, Multiobjective Evolutionary Algorithms: A Comparative Case Study, IEEE TEC 1999.
    """
    feasible = [m for m in models if m.feasible]
    if not feasible:
        return 0.0
    points = np.array([[_scaled(metric, m, baseline, limits) for metric in metrics] for m in feasible])
    return float(moocore.hypervolume(points, ref=np.ones(len(metrics))))


def hypervolume_history(
    models: Sequence[Model], metrics: Sequence[Metric], baseline: Model, limits: Mapping[str, float] = UNLIMITED
) -> list[tuple[int, float]]:
    """Return the number of each finished trial with the hypervolume so far; see `hypervolume`."""
    history: list[tuple[int, float]] = []
    best, share = np.empty((0, len(metrics))), 0.0
    for model in models:
        point = np.array([_scaled(metric, model, baseline, limits) for metric in metrics])
        if model.feasible and not (best <= point).all(axis=1).any():
            best = np.vstack([best[~(best >= point).all(axis=1)], point])
            share = float(moocore.hypervolume(best, ref=np.ones(len(metrics))))
        history.append((model.trial, share))
    return history


def _scaled(metric: Metric, model: Model, baseline: Model, limits: Mapping[str, float]) -> float:
    """Return a value as a loss between 0, perfection, and 1, the reference point."""
    value, limit = metric.counted_as(model[metric.name]), limits.get(metric.name)
    if metric.higher_is_better and math.isfinite(metric.highest):
        return (metric.highest - value) / max(metric.highest - max(limit or 0.0, 0.0), 1e-12)
    if metric.higher_is_better:
        worst = baseline[metric.name] / REFERENCE_FACTOR if limit is None else limit
        return worst / max(value, 1e-12)
    return value / max(worst_cost(metric, baseline) if limit is None else limit, 1e-12)


def worst_cost(metric: Metric, baseline: Model) -> float:
    """Return the largest cost that counts towards the hypervolume where there is no limit."""
    return REFERENCE_FACTOR * metric.counted_as(baseline[metric.name])


def deltas(model: Model, baseline: Model) -> dict[str, float]:
    """Return the change of each metric against the baseline.

    The change of a cost is a share of the baseline's (-0.5 halves it), that of a share such as accuracy a difference.
    Metrics that are unknown, that the baseline lacks, or that have no share because the baseline has 0 are left out.
    """
    metrics = known_metrics()
    both = [name for name in model.measurements if name in baseline.measurements and name in metrics]
    changes = {name: metrics[name].change(model[name], baseline[name]) for name in both}
    return {name: change for name, change in changes.items() if change is not None}


def faster_on_paper_only(model: Model, baseline: Model) -> bool:
    """Return whether MACs fell while latency, beyond its spread, did not."""
    if not {"macs", "latency_ms"} <= set(model.measurements) & set(baseline.measurements):
        return False
    latency = model.measurements["latency_ms"]
    return model["macs"] < baseline["macs"] and latency.value + latency.spread >= baseline["latency_ms"]
