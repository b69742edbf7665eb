"""Models as rows of a table for the terminal."""

from collections.abc import Sequence

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.measurement import Comparison, Metric
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.knob import Knobs
from paredown.studies.front import Model, faster_on_paper_only
from paredown.studies.study import Study

COLOURS: dict[Comparison, str] = {"better": "green", "same": "dim", "worse": "red"}


def model_rows(study: Study, models: Sequence[Model]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows: the baseline first, then the models.

    A cell of a metric holds the value and, behind a line break, its change; the last cell what the steps are.
    """
    baseline = study.baseline()
    if baseline is None:
        return ["trial"], []
    metrics: list[Metric] = [EVALUATORS[name].metric for name in baseline.measurements if name in EVALUATORS]
    order = [o.metric.name for o in study.objectives]
    metrics.sort(key=lambda m: order.index(m.name) if m.name in order else len(order))
    rows = [_row(baseline, metrics, baseline)]
    rows += [_row(model, metrics, baseline) for model in models if model.trial != baseline.trial]
    return ["trial", *(m.name for m in metrics), "compression"], rows


def short_name(step: str) -> str:
    """Return how tables call a step."""
    return STEPS[step].short if step in STEPS else step


def change_of(metric: Metric, model: Model, baseline: Model) -> str:
    """Return how a metric differs from the baseline's, green where that is better."""
    value, reference = model[metric.name], baseline[metric.name]
    return f"[{COLOURS[metric.compare(value, reference)]}]{metric.format_change(value, reference)}[/]"


def _said(step: str, knobs: Knobs) -> str:
    details = " + ".join(str(knobs[name]) for name in STEPS[step].details if knobs.get(name))
    return f"{short_name(step)} {knobs[STEPS[step].switch]}" + (f" at {details}" if details else "")


def _row(model: Model, metrics: Sequence[Metric], baseline: Model) -> list[str]:
    cells = [f"{model.trial}"]
    for metric in metrics:
        if metric.name not in model.measurements:
            cells.append("")
            continue
        value = metric.format(model[metric.name])
        if model.trial != baseline.trial:
            value += f"\n{change_of(metric, model, baseline)}"
        cells.append(value)
    steps = model.candidate.steps.items()
    said = ", ".join(_said(name, knobs) for name, knobs in steps) or "none"
    if model.trial == baseline.trial:
        said = "baseline"
    elif faster_on_paper_only(model, baseline):
        said += " (fewer MACs, not measurably faster)"
    return [*cells, said]
