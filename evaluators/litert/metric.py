"""What the metrics of microcontrollers share: the file of a candidate, and evaluators that refuse who has none."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.litert.extra import require_mcu
from paredown.evaluators.metrics.evaluation_input import EvaluationInput, Evaluator
from paredown.evaluators.metrics.measurement import Measurement, Metric

if TYPE_CHECKING:
    from paredown.evaluators.litert.vela import NpuEstimate
    from paredown.evaluators.tasks.normalisation import Inputs

UNTRAINED_TOLERANCE = 0.01
"""Share by which the untrained network's file may differ: its weights have other values in the same places."""
IN_INT8 = "of the same network in int8: the baseline itself is float32"
KEPT_ESTIMATES = 8
"""Maximum number of files whose estimates are kept, since two metrics ask for each."""


@dataclass(frozen=True)
class TargetFile:
    """The TensorFlow Lite file by which a candidate is measured.

    Attributes:
        model: The file.
        note: What else must be known of it; empty where it is the candidate's own.
    """

    model: bytes
    note: str = ""


def target_file(inputs: EvaluationInput, metric: str) -> TargetFile:
    """Return the TensorFlow Lite file of a candidate; of a float32 baseline that of the same network in int8.

    Args:
        inputs: The candidate, exported.
        metric: Name of the metric that asks, for messages.

    Raises:
        EvaluationError: There is no exported file yet.
        NoIntegerFile: The candidate is not int8, or an operator has no counterpart.
    """
    if inputs.file is None:
        raise EvaluationError(f"{metric}: there is no exported file yet")
    require_mcu()
    from paredown.evaluators.litert.conversion import tflite_model
    from paredown.evaluators.litert.integer_graph import NoIntegerFile

    model = inputs.file.read_bytes()
    try:
        try:
            return TargetFile(tflite_model(model, inputs.mcu.granularity))
        except NoIntegerFile:
            if inputs.baseline is not None or inputs.images is None or inputs.has_exits:
                raise
        return TargetFile(tflite_model(_in_int8(model, inputs.images), inputs.mcu.granularity), IN_INT8)
    except NoIntegerFile as error:
        raise NoIntegerFile(f"{metric}: {error}") from error


def _in_int8(model: bytes, images: "Inputs") -> bytes:
    """Return a float32 ONNX file in int8, calibrated on a few images."""
    import numpy as np

    from paredown.spaces.compression.quantization import QUANTIZATION
    from paredown.spaces.compression.step import CALIBRATION_IMAGES, RewriteContext

    assert QUANTIZATION.rewrite is not None, "it rewrites files"
    few = images[:CALIBRATION_IMAGES]
    context = RewriteContext(few, np.zeros(len(few), np.int64), trained=False)
    return QUANTIZATION.rewrite(model, {"weights": "int8", "activations": "uint8"}, context)


@functools.lru_cache(maxsize=KEPT_ESTIMATES)
def npu_estimate(model: bytes, npu: str) -> "NpuEstimate":
    """Return what Vela says of a file."""
    from paredown.evaluators.litert.vela import run_vela

    return run_vela(model, npu)


def npu_measurement(inputs: EvaluationInput, metric: Metric, value: "Callable[[NpuEstimate], int]") -> Measurement:
    """Return a value of Vela's estimate, with the operators that fall back to the CPU in its note."""
    file = target_file(inputs, metric.name)
    estimate = npu_estimate(file.model, inputs.mcu.npu)
    on_cpu = f"on the CPU: {', '.join(estimate.fallbacks)}" if estimate.fallbacks else ""
    note = "; ".join(filter(None, (file.note, on_cpu)))
    return Measurement(metric.name, value(estimate), how=metric.how, device=f"{estimate.npu}, by Vela", note=note)


def mcu_evaluator(metric: Metric, measure: Callable[[EvaluationInput], Measurement]) -> Evaluator:
    """Return the evaluator of a metric that only int8 candidates have; it is measured where a study asks for it."""
    return Evaluator(metric, "file", measure, applies=lambda inputs: False, refuses=True, require=require_mcu)
