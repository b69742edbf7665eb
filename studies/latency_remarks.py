"""What a reader must know of a model's latency before trusting it: remarks for tables, reports and JSON."""

import math
from collections.abc import Hashable, Iterable

from paredown.evaluators.devices.costs import number_format
from paredown.evaluators.latency.apart import apart
from paredown.evaluators.metrics.device_latency_ms import METRIC as PREDICTED
from paredown.evaluators.metrics.latency_again_ms import METRIC as AGAIN
from paredown.evaluators.metrics.latency_ms import METRIC
from paredown.studies.front import Model, faster_on_paper_only

NOISY = 0.1
"""Share of a latency above which half of its 95 % interval counts as noise: models that differ by less cannot be told
apart."""

FLAGS = (
    *("slower_than_macs_suggest", "latency_at_floor", "latency_moved", "latency_noisy"),
    *("int8_slower_than_fp32", "latency_apart_from_prediction"),
)
"""Names of what `latency_flags` returns."""


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


class Fp32Models:
    """The earliest fp32 model of each architecture in a study, on each device where its latency was measured.

    One architecture is one family with equal knobs, multiply-accumulates and parameters: steps that change the shape
    have changed both alike.

    Args:
        models: Models of the study.
    """

    def __init__(self, models: Iterable[Model] = ()) -> None:
        self._earliest: dict[Hashable, Model] = {}
        self.add(models)

    def add(self, models: Iterable[Model]) -> None:
        """Take further models of the study in."""
        for model in models:
            if number_format(model.candidate) == "fp32" and (architecture := _architecture(model)) is not None:
                known = self._earliest.setdefault(architecture, model)
                if model.trial < known.trial:
                    self._earliest[architecture] = model

    def of(self, model: Model) -> Model | None:
        """Return the fp32 model of a model's architecture; None where there is none."""
        return self._earliest.get(_architecture(model))


def _architecture(model: Model) -> Hashable:
    if not {METRIC.name, "macs", "params"} <= model.measurements.keys():
        return None
    candidate, device = model.candidate, model.measurements[METRIC.name].device
    return candidate.family, tuple(sorted(candidate.knobs.items())), model["macs"], model["params"], device


def faster_in_fp32(model: Model, fp32_models: Fp32Models) -> Model | None:
    """Return the fp32 model of an int8 model's architecture where that one is measurably faster; None where it is not.

    A difference within both intervals does not count.

    Args:
        model: Any model; one that is not int8 has none.
        fp32_models: Those of its study.
    """
    if METRIC.name not in model.measurements or number_format(model.candidate) != "int8":
        return None
    twin = fp32_models.of(model)
    if twin is None:
        return None
    latency, reference = model.measurements[METRIC.name], twin.measurements[METRIC.name]
    difference = METRIC.counted_as(latency.value) - METRIC.counted_as(reference.value)
    return twin if difference > math.hypot(latency.spread, reference.spread) else None


def latency_remarks(model: Model, baseline: Model | None, fp32_models: Fp32Models) -> list[str]:
    """Return what stands beside a model in tables, in words; empty for an ordinary latency.

    Args:
        model: The model, which may be the baseline.
        baseline: The reference network; None as long as it has not finished.
        fp32_models: Those of its study.
    """
    remarks = []
    if is_at_floor(model):
        remarks.append("at the floor of this runtime")
    elif baseline is not None and model.trial != baseline.trial and faster_on_paper_only(model, baseline):
        remarks.append("fewer MACs, not measurably faster")
    if twin := faster_in_fp32(model, fp32_models):
        remarks.append(f"int8 slower than fp32: {METRIC.format(twin[METRIC.name])} in trial {twin.trial}")
    if is_noisy(model):
        latency = model.measurements[METRIC.name]
        remarks.append(f"measurement noisy: ± {latency.spread / latency.value:.0%}")
    if far := _apart_from_prediction(model):
        remarks.append(far)
    if has_moved(model):
        remarks.append(f"measured again {AGAIN.format(model[AGAIN.name])}")
    return remarks


def latency_flags(model: Model, baseline: Model | None, fp32_models: Fp32Models) -> dict[str, bool]:
    """Return the same for programs: each flag by its name, for the arguments of `latency_remarks`."""
    return {
        "slower_than_macs_suggest": baseline is not None and faster_on_paper_only(model, baseline),
        "latency_at_floor": is_at_floor(model),
        "latency_moved": has_moved(model),
        "latency_noisy": is_noisy(model),
        "int8_slower_than_fp32": faster_in_fp32(model, fp32_models) is not None,
        "latency_apart_from_prediction": bool(_apart_from_prediction(model)),
    }


def _apart_from_prediction(model: Model) -> str:
    if not {METRIC.name, PREDICTED.name} <= set(model.measurements) or is_at_floor(model):
        return ""
    return apart(model.measurements[METRIC.name], model.measurements[PREDICTED.name])
