"""Share of validation images whose class the exported file names correctly.

Where a study names a device that runs TensorFlow Lite files, it is the share of that file, whose integers are those of
the ONNX file; the float32 baseline has none and keeps its own.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.errors import EvaluationError, NotFinite
from paredown.evaluators.metrics.evaluation_input import EvaluationInput, Evaluator
from paredown.evaluators.metrics.measurement import Measurement, Metric

if TYPE_CHECKING:
    from paredown.evaluators.devices.profile import Granularity
    from paredown.evaluators.tasks.normalisation import Inputs

METRIC = Metric("accuracy", "1", "measured", higher_is_better=True, is_share=True, untrained_tolerance=None)


def share_correct(predicted: NDArray[np.float32], labels: NDArray[np.int64], metric: str) -> Measurement:
    """Return the accuracy of logits `n x classes` with its 95 % interval (normal approximation).

    Raises:
        EvaluationError: A logit is not a finite number.
    """
    if not np.isfinite(predicted).all():
        raise NotFinite(f"{metric}: the model's output is not finite")
    share = float((predicted.argmax(axis=1) == labels).mean())
    spread = 1.96 * math.sqrt(share * (1 - share) / len(labels))
    return Measurement(metric, share, spread, "measured")


def _measure(inputs: EvaluationInput) -> Measurement:
    from paredown.evaluators.files.onnx_session import logits, open_session

    if inputs.file is None or inputs.images is None or inputs.labels is None:
        raise EvaluationError("accuracy: needs the exported file and validation images")
    if inputs.target is not None and inputs.target.format == "litert" and inputs.baseline is not None:
        integers = _integer_logits(inputs.file, inputs.images, inputs.target.weight_granularity)
        return replace(share_correct(integers, inputs.labels, METRIC.name), device="LiteRT")
    session = open_session(inputs.file, inputs.threads, exact=inputs.exact)
    return share_correct(logits(session, inputs.images), inputs.labels, METRIC.name)


def _integer_logits(file: Path, images: "Inputs", granularity: "Granularity") -> NDArray[np.float32]:
    """Return the logits of the TensorFlow Lite file, run by LiteRT."""
    from paredown.evaluators.litert.conversion import tflite_model
    from paredown.evaluators.litert.runtimes import run_litert
    from paredown.evaluators.litert.signature import Signature

    model = tflite_model(file.read_bytes(), granularity)
    signature = Signature.of(model)
    return signature.logits(run_litert(model, signature.quantised(np.asarray(images))))


ACCURACY = Evaluator(METRIC, "data", _measure)
