"""All evaluators, by the name of their metric."""

from paredown.evaluators.metrics.accuracy import ACCURACY
from paredown.evaluators.metrics.evaluation_input import Evaluator
from paredown.evaluators.metrics.exit_rate import EXIT_RATE
from paredown.evaluators.metrics.latency_ms import LATENCY_MS
from paredown.evaluators.metrics.macs import MACS
from paredown.evaluators.metrics.onnx_bytes import ONNX_BYTES
from paredown.evaluators.metrics.params import PARAMS
from paredown.evaluators.metrics.size_bytes import SIZE_BYTES

EVALUATORS: dict[str, Evaluator] = {
    evaluator.metric.name: evaluator
    for evaluator in (ACCURACY, LATENCY_MS, SIZE_BYTES, ONNX_BYTES, MACS, PARAMS, EXIT_RATE)
}
