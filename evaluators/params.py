"""Trainable parameters, a shared one counted once."""

from paredown.evaluators.measurement import Measurement, Metric
from paredown.evaluators.specimen import Evaluator, Specimen

METRIC = Metric("params", "parameters", "counted")


def _count(specimen: Specimen) -> Measurement:
    return Measurement(METRIC.name, sum(p.numel() for p in specimen.model.parameters()))


PARAMS = Evaluator(METRIC, "model", _count)
