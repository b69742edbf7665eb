"""Models as rows of a table for the terminal."""

from collections.abc import Sequence

from paredown.evaluators.catalogue import EVALUATORS
from paredown.evaluators.measurement import Metric
from paredown.search.progress import shown
from paredown.spaces.compression.catalogue import STEPS
from paredown.studies.front import Model, deltas, faster_on_paper_only
from paredown.studies.study import Study

SHORT = {"channel_pruning": "prune", "distillation": "distil", "low_rank": "rank", "quantization": "bits"}
"""Names of steps where room is scarce; others appear in full."""


def model_rows(study: Study, models: Sequence[Model]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows: the baseline first, then the models, each metric with its change."""
    baseline = study.baseline()
    if baseline is None:
        return ["trial"], []
    metrics: list[Metric] = [EVALUATORS[name].metric for name in baseline.measurements if name in EVALUATORS]
    order = [o.metric.name for o in study.objectives]
    metrics.sort(key=lambda m: order.index(m.name) if m.name in order else len(order))
    rows = [_row(baseline, metrics, baseline)]
    rows += [_row(model, metrics, baseline) for model in models if model.trial != baseline.trial]
    return ["trial", *(m.name for m in metrics), "compression"], rows


def change_of(metric: Metric, model: Model, baseline: Model) -> str:
    """Return how a metric differs from the baseline's, green where that is good."""
    change = deltas(model, baseline)[metric.name]
    is_share = metric.name.endswith(("accuracy", "_rate"))
    good = change > 0 if is_share else change < 0
    colour = "green" if good else "red" if change else "dim"
    text = f"{100 * change:+.2f} pt" if is_share else f"{change:+.0%}"
    return f"[{colour}]{text}[/]"


def _row(model: Model, metrics: Sequence[Metric], baseline: Model) -> list[str]:
    cells = [f"{model.trial}"]
    for metric in metrics:
        value = shown(metric, model[metric.name])
        if model.trial != baseline.trial:
            value += f" {change_of(metric, model, baseline)}"
        cells.append(value)
    steps = model.candidate.steps.items()
    said = ", ".join(f"{SHORT.get(name, name)} {knobs[STEPS[name].switch]}" for name, knobs in steps) or "none"
    if model.trial == baseline.trial:
        said = "baseline"
    elif faster_on_paper_only(model, baseline):
        said += " (fewer MACs, no faster)"
    return [*cells, said]
