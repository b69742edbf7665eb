"""What a reader must know of a model's latency before trusting it: remarks for tables, reports and JSON."""

import math

from paredown.evaluators.latency.apart import apart
from paredown.evaluators.metrics.device_latency_ms import METRIC as PREDICTED
from paredown.evaluators.metrics.latency_again_ms import METRIC as AGAIN
from paredown.evaluators.metrics.latency_ms import METRIC
from paredown.studies.front import Model, faster_on_paper_only


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


def latency_remarks(model: Model, baseline: Model | None) -> list[str]:
    """Return what stands beside a model in tables, in words; empty for an ordinary latency.

    Args:
        model: The model, which may be the baseline.
        baseline: The reference network; None as long as it has not finished.
    """
    remarks = []
    if is_at_floor(model):
        remarks.append("at the floor of this runtime")
    elif baseline is not None and model.trial != baseline.trial and faster_on_paper_only(model, baseline):
        remarks.append("fewer MACs, not measurably faster")
    if far := _apart_from_prediction(model):
        remarks.append(far)
    if has_moved(model):
        remarks.append(f"measured again {AGAIN.format(model[AGAIN.name])}")
    return remarks


def _apart_from_prediction(model: Model) -> str:
    if not {METRIC.name, PREDICTED.name} <= set(model.measurements) or is_at_floor(model):
        return ""
    return apart(model.measurements[METRIC.name], model.measurements[PREDICTED.name])
