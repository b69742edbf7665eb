"""What a reader must know of a model's latency before trusting it: remarks for tables, reports and JSON."""

import math
from collections.abc import Iterable

from paredown.evaluators.devices.costs import number_format
from paredown.evaluators.latency.apart import apart
from paredown.evaluators.metrics.device_latency_ms import METRIC as PREDICTED
from paredown.evaluators.metrics.latency_again_ms import METRIC as AGAIN
from paredown.evaluators.metrics.latency_ms import METRIC
from paredown.studies.front import Model, faster_on_paper_only

NOISY = 0.1
"""Share of a latency above which half of its 95 % interval counts as noise: models that differ by less cannot be told
apart."""


def is_at_floor(model: Model) -> bool:
    """Return whether the latency is that of a call by the runtime, whatever the network is."""
    return METRIC.name in model.measurements and model[METRIC.name] < METRIC.floor


def has_moved(model: Model) -> bool:
    """Return whether the latency that was measured when the search had ended is beyond both intervals of the first."""
    if not {METRIC.name, AGAIN.name} <= set(model.measurements):
        return False
    first, again = model.measurements[METRIC.name], model.measurements[AGAIN.name]
    difference = abs(AGAIN.counted_as(again.value) - METRIC.counted_as(first.value))
    return difference > math.hypot(first.spread, again.spread)


def is_noisy(model: Model) -> bool:
    """Return whether half of the latency's interval is more than 10 % of the latency."""
    if METRIC.name not in model.measurements or is_at_floor(model):
        return False
    latency = model.measurements[METRIC.name]
    return latency.spread > NOISY * latency.value


def faster_in_fp32(model: Model, models: Iterable[Model]) -> Model | None:
    """Return the fp32 model of an int8 model's architecture where that one is measurably faster; None where it is not.

    One architecture is one family with equal knobs, multiply-accumulates and parameters: steps that change the shape
    have changed both alike. Of several the earliest counts, and a difference within both intervals does not.

    Args:
        model: Any model; one that is not int8 has none.
        models: Models of its study.
    """
    if METRIC.name not in model.measurements or number_format(model.candidate) != "int8":
        return None
    latency = model.measurements[METRIC.name]
    alike = (m for m in models if _is_fp32_of(m, model) and m.measurements[METRIC.name].device == latency.device)
    twin = min(alike, key=lambda m: m.trial, default=None)
    if twin is None:
        return None
    reference = twin.measurements[METRIC.name]
    difference = METRIC.counted_as(latency.value) - METRIC.counted_as(reference.value)
    return twin if difference > math.hypot(latency.spread, reference.spread) else None


def _is_fp32_of(other: Model, model: Model) -> bool:
    counted = ("macs", "params")
    return (
        {METRIC.name, *counted} <= set(other.measurements) & set(model.measurements)
        and all(other[name] == model[name] for name in counted)
        and (other.candidate.family, other.candidate.knobs) == (model.candidate.family, model.candidate.knobs)
        and number_format(other.candidate) == "fp32"
    )


def latency_remarks(model: Model, baseline: Model | None, models: Iterable[Model] = ()) -> list[str]:
    """Return what stands beside a model in tables, in words; empty for an ordinary latency.

    Args:
        model: The model, which may be the baseline.
        baseline: The reference network; None as long as it has not finished.
        models: Models of its study, among which an int8 model has one in fp32.
    """
    remarks = []
    if is_at_floor(model):
        remarks.append("at the floor of this runtime")
    elif baseline is not None and model.trial != baseline.trial and faster_on_paper_only(model, baseline):
        remarks.append("fewer MACs, not measurably faster")
    if twin := faster_in_fp32(model, models):
        remarks.append(f"int8 slower than fp32: {METRIC.format(twin[METRIC.name])} in trial {twin.trial}")
    if is_noisy(model):
        latency = model.measurements[METRIC.name]
        remarks.append(f"measurement noisy: ± {latency.spread / latency.value:.0%}")
    if far := _apart_from_prediction(model):
        remarks.append(far)
    if has_moved(model):
        remarks.append(f"measured again {AGAIN.format(model[AGAIN.name])}")
    return remarks


def _apart_from_prediction(model: Model) -> str:
    if not {METRIC.name, PREDICTED.name} <= set(model.measurements) or is_at_floor(model):
        return ""
    return apart(model.measurements[METRIC.name], model.measurements[PREDICTED.name])
