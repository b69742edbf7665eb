"""Length of the packed file: the whole model, each tensor in its shortest encoding."""

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.measurement import Measurement, Metric
from paredown.evaluators.specimen import Evaluator, Specimen

METRIC = Metric("size_bytes", "B", "counted", untrained_tolerance=0.02)


def _measure(specimen: Specimen) -> Measurement:
    if specimen.packed is None:
        raise EvaluationError("size_bytes: there is no packed file yet")
    return Measurement(METRIC.name, specimen.packed.stat().st_size)


SIZE_BYTES = Evaluator(METRIC, "file", _measure)
