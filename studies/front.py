"""Pareto fronts: non-dominated sets, hypervolume, knee."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import moocore
import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.evaluators.metrics.measurement import Measurement, Metric
from paredown.spaces.candidate import Candidate

REFERENCE_FACTOR = 1.1
"""The reference point of the hypervolume lies at so many times the baseline's cost."""


@dataclass(frozen=True)
class Model:
    """A finished trial, as people and programs see it.

    Attributes:
        trial: Its number.
        candidate: What was built.
        measurements: By metric name.
        artifact: Folder of its files, relative to the study's folder.
        feasible: Whether it keeps every limit.
    """

    trial: int
    candidate: Candidate
    measurements: Mapping[str, Measurement]
    artifact: str
    feasible: bool = True

    def __getitem__(self, metric: str) -> float:
        return self.measurements[metric].value


def losses(models: Sequence[Model], metrics: Sequence[Metric]) -> NDArray[np.float64]:
    """Return `n x m`, one row a model, every metric minimised."""
    rows = [[metric.loss(model[metric.name]) for metric in metrics] for model in models]
    return np.array(rows, dtype=np.float64).reshape(len(models), len(metrics))


def front(models: Sequence[Model], metrics: Sequence[Metric]) -> list[Model]:
    """Return the feasible models that no other one beats, best in the first metric first.

    Of models with equal values the earliest trial is kept.
    """
    feasible = sorted((m for m in models if m.feasible), key=lambda m: m.trial)
    if not feasible:
        return []
    points = losses(feasible, metrics)
    kept = moocore.is_nondominated(points)
    order = np.lexsort(points.T[::-1])
    return [feasible[i] for i in order if kept[i]]


def hypervolume(models: Sequence[Model], metrics: Sequence[Metric], baseline: Model) -> float:
    """Return the share of the box between perfection and the reference point that the models dominate.

    Costs reach from 0 to 1.1 times the baseline's, shares such as accuracy from their highest value to 0; of what can
    rise without end, such as a throughput, the reciprocal is a cost. Each axis is scaled to 1, so the result lies
    between 0 and 1 whatever the units.

    Source:
        Zitzler, Thiele, Multiobjective Evolutionary Algorithms: A Comparative Case Study, IEEE TEC 1999.
    """
    feasible = [m for m in models if m.feasible]
    if not feasible:
        return 0.0
    points = np.array([[_scaled(metric, m, baseline) for metric in metrics] for m in feasible])
    return float(moocore.hypervolume(points, ref=np.ones(len(metrics))))


def _scaled(metric: Metric, model: Model, baseline: Model) -> float:
    value, reference = model[metric.name], baseline[metric.name]
    if metric.higher_is_better and math.isfinite(metric.highest):
        return 1 - value / metric.highest
    cost, of_baseline = (reference, value) if metric.higher_is_better else (value, reference)
    return cost / max(REFERENCE_FACTOR * of_baseline, 1e-12)


def deltas(model: Model, baseline: Model) -> dict[str, float]:
    """Return how each metric differs from the baseline's.

    Costs as a share of the baseline's (-0.5 is half of it), shares such as accuracy and rates as a difference. Left out
    is what the baseline has not, what has no share because the baseline has 0 of it, and what is no known metric.
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
