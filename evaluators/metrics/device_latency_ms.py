"""Latency on the study's device, predicted: the median of an interval.

It is known before training. On a microcontroller it comes from published results of its core and engine, and one
latency from the user's own board narrows it; on a computer that was profiled, from the networks that were measured
there. The interval stands in the note and, as half its width, in the spread.
"""

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.metrics.evaluation_input import EvaluationInput, Evaluator
from paredown.evaluators.metrics.measurement import Measurement, Metric

METRIC = Metric("device_latency_ms", "ms", "predicted")


def _predict(inputs: EvaluationInput) -> Measurement:
    from paredown.evaluators.devices.latency import predicted, predicts

    if inputs.target is None or inputs.file is None or not predicts(inputs.target):
        raise EvaluationError(
            "device_latency_ms: needs `device:` in the study file: a microcontroller whose core has published results, "
            "or the file of a computer that `paredown device profile` wrote"
        )
    return predicted(inputs.target, inputs.file)


def _applies(inputs: EvaluationInput) -> bool:
    from paredown.evaluators.devices.latency import predicts

    return inputs.target is not None and predicts(inputs.target)


DEVICE_LATENCY_MS = Evaluator(METRIC, "file", _predict, _applies)
