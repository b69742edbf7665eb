"""Memory that TensorFlow Lite Micro takes for the int8 file: its arena, by its own allocator on a 64-bit host."""

from paredown.evaluators.litert.metric import UNTRAINED_TOLERANCE, mcu_evaluator, target_file
from paredown.evaluators.metrics.evaluation_input import EvaluationInput
from paredown.evaluators.metrics.measurement import Measurement, Metric

METRIC = Metric("ram_bytes", "B", "counted", decimals=None, untrained_tolerance=UNTRAINED_TOLERANCE)


def _measure(inputs: EvaluationInput) -> Measurement:
    file = target_file(inputs, METRIC.name)
    from paredown.evaluators.litert.runtimes import arena

    return Measurement(METRIC.name, arena(file.model).total, device="TensorFlow Lite Micro", note=file.note)


RAM_BYTES = mcu_evaluator(METRIC, _measure)
