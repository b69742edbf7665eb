"""Share of validation images that leave before the end; 0 for networks without exits."""

import math

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.files.exit_runtime import BatchRuntime
from paredown.evaluators.metrics.evaluation_input import EvaluationInput, Evaluator
from paredown.evaluators.metrics.measurement import Measurement, Metric
from paredown.spaces.exits.network import MultiExit

METRIC = Metric("exit_rate", "1", "measured", higher_is_better=True, highest=1.0, untrained_tolerance=None)


def _measure(specimen: EvaluationInput) -> Measurement:
    if specimen.file is None or specimen.images is None:
        raise EvaluationError("exit_rate: needs the exported file and validation images")
    if not isinstance(specimen.model, MultiExit):
        return Measurement(METRIC.name, 0.0, 0.0, "measured")
    share = 1 - BatchRuntime(specimen.file).run(specimen.images).rates[-1]
    spread = 1.96 * math.sqrt(share * (1 - share) / len(specimen.images))
    return Measurement(METRIC.name, share, spread, "measured")


def _has_exits(specimen: EvaluationInput) -> bool:
    return isinstance(specimen.model, MultiExit)


EXIT_RATE = Evaluator(METRIC, "data", _measure, _has_exits)
