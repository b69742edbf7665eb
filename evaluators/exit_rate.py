"""Share of validation images that leave before the end; 0 for networks without exits."""

import math

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.exit_runtime import BatchRuntime
from paredown.evaluators.measurement import Measurement, Metric
from paredown.evaluators.specimen import Evaluator, Specimen
from paredown.spaces.exits.network import MultiExit

METRIC = Metric("exit_rate", "1", "measured", higher_is_better=True, highest=1.0, untrained_tolerance=None)


def _measure(specimen: Specimen) -> Measurement:
    if specimen.file is None or specimen.images is None:
        raise EvaluationError("exit_rate: needs the exported file and validation images")
    if not isinstance(specimen.model, MultiExit):
        return Measurement(METRIC.name, 0.0, 0.0, "measured")
    share = 1 - BatchRuntime(specimen.file).run(specimen.images).rates[-1]
    spread = 1.96 * math.sqrt(share * (1 - share) / len(specimen.images))
    return Measurement(METRIC.name, share, spread, "measured")


def _has_exits(specimen: Specimen) -> bool:
    return isinstance(specimen.model, MultiExit)


EXIT_RATE = Evaluator(METRIC, "data", _measure, _has_exits)
