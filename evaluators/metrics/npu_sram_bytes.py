"""Memory for tensors that Arm's compiler Vela lays out for an Ethos-U NPU."""

from paredown.evaluators.litert.metric import mcu_evaluator, npu_measurement
from paredown.evaluators.metrics.evaluation_input import EvaluationInput
from paredown.evaluators.metrics.measurement import Measurement, Metric

# Vela keeps weights in this memory as it streams them, compressed, and those of an untrained network differ.
METRIC = Metric("npu_sram_bytes", "B", "predicted", decimals=None, untrained_tolerance=0.1)


def _measure(inputs: EvaluationInput) -> Measurement:
    return npu_measurement(inputs, METRIC, lambda estimate: estimate.sram_bytes)


NPU_SRAM_BYTES = mcu_evaluator(METRIC, _measure)
