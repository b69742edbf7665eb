"""Share of validation images whose class the exported file names correctly."""

import math

import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.errors import EvaluationError, NotFinite
from paredown.evaluators.metrics.evaluation_input import EvaluationInput, Evaluator
from paredown.evaluators.metrics.measurement import Measurement, Metric

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
    return share_correct(logits(open_session(inputs.file, inputs.threads), inputs.images), inputs.labels, METRIC.name)


ACCURACY = Evaluator(METRIC, "data", _measure)
