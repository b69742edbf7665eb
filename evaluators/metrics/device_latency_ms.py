"""Latency on the study's device, predicted from published results of its core and engine: median of an interval.

It is known before training. The interval stands in the note and, as half its width, in the spread; one latency from
the user's own board narrows it, see `paredown.evaluators.devices.board_latency`.
"""

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.metrics.evaluation_input import EvaluationInput, Evaluator
from paredown.evaluators.metrics.measurement import Measurement, Metric

METRIC = Metric("device_latency_ms", "ms", "predicted")


def _predict(inputs: EvaluationInput) -> Measurement:
    from paredown.evaluators.devices.board_latency import predict, predicts
    from paredown.evaluators.devices.operator_macs import operator_macs

    if inputs.target is None or inputs.file is None or not predicts(inputs.target):
        raise EvaluationError(
            "device_latency_ms: needs `device:` in the study file, a microcontroller whose core has published results"
        )
    interval = predict(inputs.target, operator_macs(inputs.file))
    spread = (interval.high_ms - interval.low_ms) / 2
    return Measurement(METRIC.name, interval.value_ms, spread, "predicted", inputs.target.id, str(interval))


def _applies(inputs: EvaluationInput) -> bool:
    from paredown.evaluators.devices.board_latency import predicts

    return inputs.target is not None and predicts(inputs.target)


DEVICE_LATENCY_MS = Evaluator(METRIC, "file", _predict, _applies)
