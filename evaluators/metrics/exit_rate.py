"""Share of validation images that leave before the end; 0 for networks without exits."""

import math

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.metrics.evaluation_input import EvaluationInput, Evaluator
from paredown.evaluators.metrics.measurement import Measurement, Metric

METRIC = Metric("exit_rate", "1", "measured", higher_is_better=True, is_share=True, untrained_tolerance=None)


def _measure(inputs: EvaluationInput) -> Measurement:
    from paredown.evaluators.files.exit_runtime import BatchRuntime

    if inputs.file is None or inputs.images is None:
        raise EvaluationError("exit_rate: needs the exported file and validation images")
    if not inputs.has_exits:
        return Measurement(METRIC.name, 0.0, 0.0, "measured")
    share = 1 - BatchRuntime(inputs.file, exact=inputs.exact).run(inputs.images).rates[-1]
    spread = 1.96 * math.sqrt(share * (1 - share) / len(inputs.images))
    return Measurement(METRIC.name, share, spread, "measured")


EXIT_RATE = Evaluator(METRIC, "data", _measure, applies=lambda inputs: inputs.has_exits)
