"""What the dashboard shows of a trial beside its knobs: each becomes a column of its table."""

from collections.abc import Mapping, Sequence
from typing import Any

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.evaluators.metrics.measurement import Measurement, Objective, broken_limits
from paredown.studies.front import Model
from paredown.studies.latency_remarks import Fp32Models, latency_remarks
from paredown.studies.result import CAUSE

Attributes = dict[str, str | float]


def trial_attributes(
    row: Mapping[str, Any],
    measured: Mapping[str, Measurement],
    objectives: Sequence[Objective],
    baseline: Model | None,
    model: Model | None,
    fp32_models: Fp32Models,
    *,
    on_front: bool,
) -> Attributes:
    """Return the attributes of a trial, by names that say what they are, with units.

    Args:
        row: The trial as `Records.rows` returns it.
        measured: What is measured of it, by metric.
        objectives: Objectives of the study.
        baseline: The reference network; None as long as it has not finished.
        model: The trial as a finished model; None for all other trials.
        fp32_models: Those of the study.
        on_front: Whether it is on the front.
    """
    shown: Attributes = {"outcome": row["state"]}
    is_baseline = baseline is not None and row["number"] == baseline.trial
    if is_baseline or on_front:
        shown["role"] = " and ".join(["baseline"] * is_baseline + ["on the front"] * on_front)
    if row["parent"] is not None:
        shown["derived from trial"] = row["parent"]
    if row["reason"]:
        shown["reason"] = row["reason"]
    if row["facts"].get(CAUSE):
        shown["cause"] = row["facts"][CAUSE]
    if model is not None and any(objective.limit is not None for objective in objectives):
        broken = broken_limits(tuple(objectives), {name: m.value for name, m in measured.items()})
        shown["limits"] = f"broken: {'; '.join(broken)}" if broken else "kept"
    if model is not None and (remarks := latency_remarks(model, baseline, fp32_models)):
        shown["flag"] = "; ".join(remarks)
    return shown | _metrics(measured, None if is_baseline else baseline)


def _metrics(measured: Mapping[str, Measurement], baseline: Model | None) -> Attributes:
    shown: Attributes = {}
    for metric in known_metrics().values():
        if metric.name not in measured:
            continue
        found = measured[metric.name]
        shown[metric.title] = _readable(found.value)
        if found.spread:
            shown[f"± {metric.title}"] = _readable(found.spread)
        if baseline is None or metric.name not in baseline.measurements:
            continue
        change = metric.change(found.value, baseline[metric.name])
        if change is not None:
            unit = "pt" if metric.is_share else "%"
            shown[f"{metric.name}: change from the baseline ({unit})"] = round(100 * change, 3)
    return shown


def _readable(value: float) -> float:
    """Return a count as a whole number, and what is measured with six significant digits."""
    return int(value) if value == int(value) else float(f"{value:.6g}")
