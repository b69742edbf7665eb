"""The metrics of a network: those that the study asks for, and all that apply."""

from collections.abc import Sequence

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.evaluation_input import EvaluationInput
from paredown.evaluators.metrics.measurement import Measurement, Objective


def evaluated(
    objectives: Sequence[Objective], inputs: EvaluationInput, needs: tuple[str, ...]
) -> dict[str, Measurement]:
    """Measure a network, and return the measurements by metric.

    Args:
        objectives: Objectives of the study.
        inputs: The network, with its file and images where they exist.
        needs: What evaluators may need; the others are left out.
    """
    asked = {o.metric.name for o in objectives}
    return {
        name: evaluator.evaluate(inputs)
        for name, evaluator in EVALUATORS.items()
        if evaluator.needs in needs and name not in inputs.left_out and (name in asked or evaluator.applies(inputs))
    }


def judged_by_file(objectives: Sequence[Objective], judged: bool) -> set[str]:
    """Return the metrics of the untrained network's file that may end a trial before training.

    Args:
        objectives: Objectives of the study.
        judged: Whether trials are judged while they run, by their costs too.
    """
    asked = {o.metric.name: o.is_limited or judged for o in objectives}
    return {
        n for n, is_judged in asked.items() if EVALUATORS[n].needs == "file" and (is_judged or EVALUATORS[n].refuses)
    }
