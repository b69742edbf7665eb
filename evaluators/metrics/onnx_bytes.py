"""Length of the ONNX file that the runtime loads."""

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.metrics.evaluation_input import EvaluationInput, Evaluator
from paredown.evaluators.metrics.measurement import Measurement, Metric

# Seen on 17 candidates of `mbconv`: -2 % in float, up to 3 % more in int8, as the quantizer finds more to quantize.
METRIC = Metric("onnx_bytes", "B", "counted", decimals=None, untrained_tolerance=0.05)


def _measure(inputs: EvaluationInput) -> Measurement:
    if inputs.file is None:
        raise EvaluationError("onnx_bytes: there is no exported file yet")
    return Measurement(METRIC.name, inputs.file.stat().st_size)


ONNX_BYTES = Evaluator(METRIC, "file", _measure)
