"""All evaluators, by the name of their metric."""

from paredown.evaluators.accuracy import ACCURACY
from paredown.evaluators.exit_rate import EXIT_RATE
from paredown.evaluators.latency_ms import LATENCY_MS
from paredown.evaluators.macs import MACS
from paredown.evaluators.onnx_bytes import ONNX_BYTES
from paredown.evaluators.params import PARAMS
from paredown.evaluators.size_bytes import SIZE_BYTES
from paredown.evaluators.specimen import Evaluator

EVALUATORS: dict[str, Evaluator] = {
    evaluator.metric.name: evaluator
    for evaluator in (ACCURACY, LATENCY_MS, SIZE_BYTES, ONNX_BYTES, MACS, PARAMS, EXIT_RATE)
}
