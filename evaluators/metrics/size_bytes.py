"""Length of the packed file: the whole model, each tensor in its shortest encoding."""

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.metrics.evaluation_input import EvaluationInput, Evaluator
from paredown.evaluators.metrics.measurement import Measurement, Metric

# Seen on 17 candidates of `mbconv`: the untrained network packs 4 to 16 % shorter, as its folded biases are all
# alike, and never longer. The tolerance is for trained weights that pack better than random ones.
METRIC = Metric("size_bytes", "B", "counted", decimals=None, untrained_tolerance=0.05)


def _measure(inputs: EvaluationInput) -> Measurement:
    if inputs.packed is None:
        raise EvaluationError("size_bytes: there is no packed file yet")
    return Measurement(METRIC.name, inputs.packed.stat().st_size)


SIZE_BYTES = Evaluator(METRIC, "file", _measure)
