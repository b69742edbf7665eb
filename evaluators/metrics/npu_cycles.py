"""Clock cycles of one inference on an Ethos-U NPU, as Arm's compiler Vela predicts them."""

from paredown.evaluators.litert.metric import mcu_evaluator, npu_measurement
from paredown.evaluators.metrics.evaluation_input import EvaluationInput
from paredown.evaluators.metrics.measurement import Measurement, Metric

# Vela compresses weights, and those of an untrained network compress otherwise: see benchmarks/exports.py.
METRIC = Metric("npu_cycles", "cycles", "predicted", decimals=None, shows_unit=False, untrained_tolerance=0.1)


def _measure(inputs: EvaluationInput) -> Measurement:
    return npu_measurement(inputs, METRIC, lambda estimate: estimate.cycles)


NPU_CYCLES = mcu_evaluator(METRIC, _measure)
