"""Flash of a microcontroller: the int8 TensorFlow Lite file, and the engine's code where a device says how much."""

from paredown.evaluators.litert.metric import UNTRAINED_TOLERANCE, mcu_evaluator, target_file
from paredown.evaluators.metrics.evaluation_input import EvaluationInput
from paredown.evaluators.metrics.measurement import Measurement, Metric

METRIC = Metric("flash_bytes", "B", "counted", decimals=None, untrained_tolerance=UNTRAINED_TOLERANCE)
FILE_ALONE = "the file alone: no device is named that says how long the engine's code is"


def _measure(inputs: EvaluationInput) -> Measurement:
    code = inputs.mcu.engine_code_bytes
    file = target_file(inputs, METRIC.name)
    note = "; ".join(filter(None, (file.note, "" if code else FILE_ALONE)))
    return Measurement(METRIC.name, len(file.model) + code, note=note)


FLASH_BYTES = mcu_evaluator(METRIC, _measure)
