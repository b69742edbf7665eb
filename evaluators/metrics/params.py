"""Trainable parameters, a shared one counted once."""

from paredown.evaluators.metrics.evaluation_input import EvaluationInput, Evaluator
from paredown.evaluators.metrics.measurement import Measurement, Metric

METRIC = Metric("params", "parameters", "counted")


def _count(specimen: EvaluationInput) -> Measurement:
    return Measurement(METRIC.name, sum(p.numel() for p in specimen.model.parameters()))


PARAMS = Evaluator(METRIC, "model", _count)
