"""Writes a self-contained page about a study: figures, table, failed trials. It needs no internet connection."""

import html
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TypeVar

import plotly.graph_objects as go

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.evaluators.metrics.latency_again_ms import METRIC as AGAIN
from paredown.evaluators.metrics.measurement import Metric
from paredown.studies import figures as drawn
from paredown.studies.front import Model, front, hypervolume_history
from paredown.studies.inline_plots import drawing, place
from paredown.studies.latency_remarks import Fp32Models, latency_remarks
from paredown.studies.reading import StudyReader
from paredown.studies.region import binding_text, limit_texts, nearest, spread_text
from paredown.studies.result import FINISHED
from paredown.studies.study import Study

T = TypeVar("T")
MAX_DRAWN = 400
"""Maximum number of trials beside the front that a figure draws, so that the page opens at once."""
MAX_CURVES = 100
"""Maximum number of learning curves beside those of the front, and as many of trials that were stopped early."""
MAX_LISTED = 200
"""Maximum number of trials in a list of reasons."""
MIN_TRIALS_FOR_IMPORTANCES = 8
"""Minimum number of trials with which knob importances are meaningful."""


def write_report(study: Study, file: Path) -> None:
    """Write the page of a study.

    Args:
        study: Study, with or without finished trials.
        file: File to write; it is overwritten, and its folder is made.
    """
    models, baseline = study.models(), study.baseline()
    metrics = study.optimised_metrics
    kept, out_of_reach = front(models, metrics), binding_text(models, study.objectives)
    best = kept or nearest(models, study.objectives)
    shown = _figures(study, models, best, baseline, metrics) if baseline else []
    page = (resources.files("paredown.studies") / "report.html").read_text()
    file.parent.mkdir(parents=True, exist_ok=True)
    values = {
        "name": html.escape(study.name),
        "summary": _summary(study, kept, baseline, metrics),
        "table": _limits(study, out_of_reach) + _table(best, baseline, metrics, models)
        if baseline
        else "<p>No trial has finished yet.</p>",
        "figures": "\n".join(_section(*one) for one in shown) + drawing([figure for _, _, figure in shown]),
        "trials": _listed(study, "Stopped early", {"stopped"})
        + _listed(study, "Failed and rejected", {"failed", "rejected"}),
    }
    # All fields in one pass, so that a study that is named like a field is not replaced.
    file.write_text(re.sub(r"\{\{(\w+)\}\}", lambda field: values[field[1]], page))


def _figures(
    study: Study, models: Sequence[Model], best: Sequence[Model], baseline: Model, metrics: Sequence[Metric]
) -> list[tuple[str, str, go.Figure]]:
    """Return title, explanation and figure of each section."""
    history = hypervolume_history(models, metrics, baseline, study.limits)
    shown = thinned(models, best, baseline)
    few = "" if len(shown) == len(models) else f" Of {len(models):,} trials {len(shown):,} are drawn."
    sections = [
        (
            "The front",
            "Each point is a real, exported model. Hover for the candidate; click a legend entry to hide it." + few,
            drawn.front_figure(shown, best, baseline, metrics),
        )
    ]
    if len(metrics) >= 3:
        figure = drawn.front_figure_3d(shown, best, baseline, metrics[:3])
        sections.append(("The front in three dimensions", "Drag to turn.", figure))
    sections.append(
        (
            "Hypervolume over trials",
            _about_hypervolume(study, best),
            drawn.hypervolume_figure(history),
        )
    )
    if importances := knob_importances(study, metrics, models):
        figure = drawn.importances_figure(importances)
        sections.append(("Which knobs matter", "Share of each objective's variance (PED-ANOVA).", figure))
    figure = drawn.parallel_figure(shown, metrics)
    sections.append(("All trials, side by side", "Drag along an axis to keep a range." + few, figure))
    stopped = study.numbers("stopped")
    others = [*evenly([m.trial for m in shown], MAX_CURVES), *evenly(stopped, MAX_CURVES)]
    drawn_curves = {m.trial for m in best} | set(others)
    if curves := study.curves(drawn_curves):
        figure = drawn.curves_figure(curves, {m.trial for m in best}, set(stopped))
        text = "Validation accuracy after each epoch; blue: models on the front"
        text += "; dashed, with a cross at the end: stopped early." if stopped else "."
        sections.append(("Learning curves", text, figure))
    return sections


def _about_hypervolume(study: Study, best: Sequence[Model]) -> str:
    """Return what the curve shows: the box, and how far the front reaches in it."""
    if limits := limit_texts(study.objectives):
        box = f"the limits ({', '.join(limits)}), and 1.1 times the baseline's cost where there is none,"
    else:
        box = "1.1 times the baseline's cost"
    reach = spread_text([model for model in best if model.feasible], study.optimised_metrics)
    reach = f" The front reaches from {reach}." if reach else " No model keeps the limits yet."
    return html.escape(f"The share of the box between perfection and {box} that the front dominates.{reach}")


def thinned(models: Sequence[Model], best: Sequence[Model], baseline: Model) -> list[Model]:
    """Return the front, the baseline and as many other models as a figure can show, evenly from all the study."""
    kept = {m.trial for m in best} | {baseline.trial}
    kept |= {m.trial for m in evenly([m for m in models if m.trial not in kept], MAX_DRAWN)}
    return [m for m in models if m.trial in kept]


def evenly(items: Sequence[T], count: int) -> Sequence[T]:
    """Return at most `count` items, evenly spread."""
    return items if len(items) <= count else [items[at * len(items) // count] for at in range(count)]


def knob_importances(
    study: Study | StudyReader, metrics: Sequence[Metric], models: Sequence[Model]
) -> dict[str, dict[str, float]]:
    """Return the importances of the knobs by objective; empty where there are too few trials."""
    if len(models) < MIN_TRIALS_FOR_IMPORTANCES:
        return {}
    found = {}
    for metric in metrics:
        if len({m[metric.name] for m in models}) > 1:  # where all values are equal, no knob matters
            found[metric.name] = study.importances(metric.name)
    return found


def _section(title: str, text: str, figure: go.Figure) -> str:
    return f"<section><h2>{title}</h2><p>{text}</p>{place(figure)}</section>"


def _summary(study: Study, best: Sequence[Model], baseline: Model | None, metrics: Sequence[Metric]) -> str:
    counts = study.counts()
    cards = [("trials", str(sum(counts.get(s, 0) for s in (*FINISHED, "rejected"))))]
    cards += [
        (state, str(counts[state]))
        for state in ("stopped", "failed", "parked", "rejected", "duplicate")
        if counts.get(state)
    ]
    cards.append(("models on the front", str(len(best))))
    if baseline is not None and best:
        for metric in metrics:
            cards.append((f"best {metric.name}", _best(metric, best, baseline)))
    return "".join(f"<div class=card><b>{value}</b><span>{html.escape(label)}</span></div>" for label, value in cards)


def _best(metric: Metric, best: Sequence[Model], baseline: Model) -> str:
    """Return the best value of a front; below the floor of a metric no value is better than another."""
    value = min((model[metric.name] for model in best), key=metric.loss)
    counted = metric.counted_as(value)
    least = "≤ " if counted > value else ""
    return least + metric.format(counted) + _change(metric, counted, metric.counted_as(baseline[metric.name]))


def _limits(study: Study, out_of_reach: str) -> str:
    """Return the limits, and which one keeps every model out where one does."""
    lines = [f"Limits: {', '.join(texts)}" for texts in [limit_texts(study.objectives)] if texts]
    lines += [f"{out_of_reach}. The models below come nearest." for _ in [0] if out_of_reach]
    return "".join(f"<p>{html.escape(line)}</p>" for line in lines)


def _table(best: Sequence[Model], baseline: Model, metrics: Sequence[Metric], models: Sequence[Model]) -> str:
    measured = {name for model in (baseline, *best) for name in model.measurements}
    measured.discard(AGAIN.name)  # a remark at the trial tells where it differs
    shown = [*metrics, *(m for m in known_metrics().values() if m.name in measured and m not in metrics)]
    head = "".join(f"<th>{html.escape(m.name)}</th>" for m in shown)
    rows, fp32_models = [], Fp32Models(models)
    for model in [baseline, *(m for m in best if m.trial != baseline.trial)]:
        cells = "".join(_cell(metric, model, baseline) for metric in shown)
        label = f"{model.trial}" + (" <em>baseline</em>" if model.trial == baseline.trial else "")
        remarks = latency_remarks(model, baseline, fp32_models)
        flag = "".join(f" <em>{html.escape(remark)}</em>" for remark in remarks)
        rows.append(f"<tr class=first><td>{label}{flag}</td>{cells}</tr>")
        rows.append(f"<tr><td class=what colspan={1 + len(shown)}>{html.escape(str(model.candidate))}</td></tr>")
    return f"<table><thead><tr><th>trial</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _cell(metric: Metric, model: Model, baseline: Model) -> str:
    if metric.name not in model.measurements:
        return "<td></td>"
    measurement = model.measurements[metric.name]
    is_compared = model is not baseline and metric.name in baseline.measurements
    change = _change(metric, measurement.value, baseline[metric.name]) if is_compared else ""
    return f"<td>{metric.format(measurement.value, measurement.spread)}{change}</td>"


def _change(metric: Metric, value: float, reference: float) -> str:
    """Return the change to a value from the baseline's, in the colour of their comparison."""
    text = metric.format_change(value, reference)
    return f"<small class={metric.compare(value, reference)}>{text}</small>"


def _listed(study: Study, title: str, states: set[str]) -> str:
    """Return a section with the reasons of all trials in some states; an empty text where there are none."""
    rows = [row for row in study.rows() if row["state"] in states]
    if not rows:
        return ""
    body = "".join(
        f"<tr><td>{row['number']}</td><td>{row['state']}</td>"
        f"<td class=what>{html.escape(row['reason'][:300])}</td></tr>"
        for row in rows[:MAX_LISTED]
    )
    return (
        f"<section><h2>{title}</h2><table><thead><tr><th>trial</th><th>state</th>"
        f"<th>reason</th></tr></thead><tbody>{body}</tbody></table></section>"
    )
