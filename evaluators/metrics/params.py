"""Stored parameters of the network: all of them, a shared one counted once.

Parameters that pruning set to zero count too, as the network stores them; `size_bytes` says what a file needs for them.
"""

from paredown.evaluators.metrics.evaluation_input import EvaluationInput, Evaluator
from paredown.evaluators.metrics.measurement import Measurement, Metric

METRIC = Metric("params", "parameters", "counted", decimals=None, shows_unit=False)


def _count(inputs: EvaluationInput) -> Measurement:
    return Measurement(METRIC.name, sum(p.numel() for p in inputs.model.parameters()))


PARAMS = Evaluator(METRIC, "model", _count)
