"""Measures the latency of a study's final front once more: all its models in one session, side by side."""

from collections.abc import Callable
from pathlib import Path

from paredown.evaluators.build import input_shape
from paredown.evaluators.device import this_device
from paredown.evaluators.files.names import MODEL_FILE
from paredown.evaluators.measurement_lock import measurement_lock
from paredown.evaluators.metrics.latency_again_ms import METRIC as AGAIN
from paredown.evaluators.metrics.latency_ms import METRIC, runner, side_by_side
from paredown.evaluators.metrics.measurement import Measurement
from paredown.evaluators.tasks.task import Task
from paredown.search.trial.plan import TrialPlan, attaching
from paredown.studies.front import Model, front
from paredown.studies.study import Study


def measure_front_again(study: Study, task: Task, plan: TrialPlan) -> list[Model]:
    """Store a second latency of each model of the front, beside the one that the search went by, and return them.

    Measurements of a search lie hours apart; these are made within seconds of each other. Models that were measured on
    another machine are left out, and so are networks with exits, whose latency is a mean over a stream of images. Where
    all have a second latency, nothing happens.

    Args:
        study: The study, whose search has ended.
        task: Its data.
        plan: Plan of its trials.
    """
    threads, batch_size = plan.device.threads, plan.device.batch_size
    baseline, here = study.baseline(), str(this_device(threads, batch_size))
    if baseline is None or METRIC not in plan.optimised_metrics:
        return []
    models = [m for m in front(study.models(), plan.optimised_metrics) if _can_be_compared(m, baseline, here)]
    if all(AGAIN.name in model.measurements for model in models):
        return []

    def run(model: Model) -> Callable[[], object]:
        file, shape = Path(plan.folder, model.artifact, MODEL_FILE), input_shape(model.candidate, task)
        return runner(file, shape, threads, batch_size)

    scale = baseline[METRIC.name]
    with measurement_lock():
        ratios = side_by_side([run(model) for model in models], run(baseline), threads=threads)
    for model, (ratio, half_width) in zip(models, ratios, strict=True):
        again = Measurement(AGAIN.name, scale * ratio, scale * half_width, "measured", here)
        study.add_measurement(model.trial, again)
    return models


def _can_be_compared(model: Model, baseline: Model, here: str) -> bool:
    measured_here = model.measurements[METRIC.name].device == baseline.measurements[METRIC.name].device == here
    return model.trial != baseline.trial and measured_here and not attaching(model.candidate)
