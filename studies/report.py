"""One self-contained page that shows a study: figures, table, what failed. Works without a network."""

import html
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import plotly.io

from paredown.evaluators.measurement import Metric
from paredown.studies.front import Model, deltas, faster_on_paper_only, front, hypervolume
from paredown.studies.study import Study

LEAST_FOR_IMPORTANCES = 8
"""Knob importances of fewer trials say nothing."""
BLUE, ORANGE, GREY, GREEN = "#2563eb", "#ea580c", "#9ca3af", "#059669"


def write_report(study: Study, file: Path) -> None:
    """Write the page of a study.

    Args:
        study: With or without finished trials.
        file: Overwritten; its folder is made.
    """
    models, baseline = study.models(), study.baseline()
    metrics = [o.metric for o in study.objectives if o.optimised]
    best = front(models, metrics)
    figures: list[tuple[str, str, go.Figure]] = []
    if baseline is not None:
        figures = [
            ("The front", "Each point is a real, exported model. Click a legend entry to hide it; hover for the candidate.", front_figure(models, best, baseline, metrics)),
        ]
        if len(metrics) >= 3:
            figures.append(("The front in three dimensions", "Drag to turn.", front_figure_3d(models, best, baseline, metrics[:3])))
        figures.append(("Hypervolume over trials", "The share of the box between perfection and 1.1 times the baseline's cost that the front dominates.", hypervolume_figure(hypervolume_history(models, metrics, baseline))))
        importances = knob_importances(study, metrics, models)
        if importances:
            figures.append(("Which knobs matter", "Share of the variance of each objective (PED-ANOVA).", importances_figure(importances)))
        figures.append(("All trials, side by side", "Drag along an axis to keep a range.", parallel_figure(models, metrics)))
        if curves := study.curves():
            figures.append(("Learning curves", "Validation accuracy after each epoch.", curves_figure(curves, {m.trial for m in best})))
    page = (resources.files("paredown.studies") / "report.html").read_text()
    file.parent.mkdir(parents=True, exist_ok=True)
    for key, value in {
        "{{name}}": html.escape(study.name),
        "{{summary}}": _summary(study, best, baseline, metrics),
        "{{table}}": _table(best, baseline, metrics) if baseline else "<p>No trial has finished yet.</p>",
        "{{figures}}": "\n".join(_section(*figure, first=at == 0) for at, figure in enumerate(figures)),
        "{{trials}}": _troubles(study),
    }.items():
        page = page.replace(key, value)
    file.write_text(page)


def front_figure(models: Sequence[Model], best: Sequence[Model], baseline: Model, metrics: Sequence[Metric]) -> go.Figure:
    """Return the first objective against each other one, chosen by a menu."""
    figure = go.Figure()
    y, others = metrics[0], metrics[1:]
    numbers = {m.trial for m in best} | {baseline.trial}
    rest = [m for m in models if m.trial not in numbers]
    traces = [("other trials", rest, GREY, 7, "circle"), ("front", best, BLUE, 10, "circle"), ("baseline", [baseline], ORANGE, 14, "star")]
    for x in others:
        for name, some, colour, size, symbol in traces:
            figure.add_scatter(
                x=[m[x.name] for m in some],
                y=[m[y.name] for m in some],
                error_y={"array": [m.measurements[y.name].spread for m in some], "thickness": 0.6, "width": 0} if name == "front" else None,
                mode="markers",
                name=name,
                marker={"color": colour, "size": size, "symbol": symbol, "line": {"width": 1, "color": "white"}},
                text=[_hover(m) for m in some],
                hovertemplate="%{text}<extra></extra>",
                visible=x is others[0],
            )
    buttons = [
        {
            "label": f"{y.name} against {x.name}",
            "method": "update",
            "args": [{"visible": [at // 3 == i for at in range(3 * len(others))]}, {"xaxis.title.text": _axis(x)}],
        }
        for i, x in enumerate(others)
    ]
    figure.update_layout(xaxis_title=_axis(others[0]), yaxis_title=_axis(y), xaxis_type="log")
    if len(others) > 1:
        figure.update_layout(updatemenus=[{"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.16, "yanchor": "top"}])
    return _styled(figure)


def front_figure_3d(models: Sequence[Model], best: Sequence[Model], baseline: Model, metrics: Sequence[Metric]) -> go.Figure:
    """Return three objectives in space."""
    figure = go.Figure()
    numbers = {m.trial for m in best} | {baseline.trial}
    z, x, y = metrics
    for name, some, colour, size in (
        ("other trials", [m for m in models if m.trial not in numbers], GREY, 3),
        ("front", best, BLUE, 5),
        ("baseline", [baseline], ORANGE, 7),
    ):
        figure.add_scatter3d(
            x=[m[x.name] for m in some],
            y=[m[y.name] for m in some],
            z=[m[z.name] for m in some],
            mode="markers",
            name=name,
            marker={"color": colour, "size": size},
            text=[_hover(m) for m in some],
            hovertemplate="%{text}<extra></extra>",
        )
    axes = {f"{axis}axis": {"title": {"text": _axis(m)}} for axis, m in (("x", x), ("y", y), ("z", z))}
    figure.update_layout(scene=axes, height=620)
    return _styled(figure)


def hypervolume_history(models: Sequence[Model], metrics: Sequence[Metric], baseline: Model) -> list[tuple[int, float]]:
    """Return after each finished trial its number and the hypervolume so far."""
    history, kept = [], []
    for model in models:
        kept = front([*kept, model], metrics)
        history.append((model.trial, hypervolume(kept, metrics, baseline)))
    return history


def hypervolume_figure(history: Sequence[tuple[int, float]]) -> go.Figure:
    """Return the hypervolume as steps."""
    numbers, shares = zip(*history, strict=True)
    figure = go.Figure(go.Scatter(x=numbers, y=shares, mode="lines", line={"shape": "hv", "color": GREEN, "width": 3}))
    figure.update_layout(xaxis_title="trial", yaxis_title="hypervolume")
    return _styled(figure)


def knob_importances(study: Study, metrics: Sequence[Metric], models: Sequence[Model]) -> dict[str, dict[str, float]]:
    """Return by objective the share of each knob, of the ten largest; empty where there are too few trials."""
    if len(models) < LEAST_FOR_IMPORTANCES:
        return {}
    found = {}
    for metric in metrics:
        if len({m[metric.name] for m in models}) > 1:  # where all are equal nothing matters
            found[metric.name] = study.importances(metric.name)
    return found


def importances_figure(importances: dict[str, dict[str, float]]) -> go.Figure:
    """Return bars: a group a knob, a colour an objective."""
    total = {k: sum(shares.get(k, 0) for shares in importances.values()) for s in importances.values() for k in s}
    knobs = sorted(total, key=lambda k: total[k])[-10:]
    figure = go.Figure()
    for metric, shares in importances.items():
        figure.add_bar(y=knobs, x=[shares.get(k, 0) for k in knobs], name=metric, orientation="h")
    figure.update_layout(xaxis_title="importance", height=max(360, 42 * len(knobs)))
    return _styled(figure)


def parallel_figure(models: Sequence[Model], metrics: Sequence[Metric]) -> go.Figure:
    """Return parallel coordinates of the metrics and of the knobs that vary."""
    dimensions = [{"label": m.name, "values": [model[m.name] for model in models]} for m in metrics]
    flat = [_flat(model) for model in models]
    for knob in sorted({k for row in flat for k in row}):
        values = [row.get(knob) for row in flat]
        if len(set(map(str, values))) < 2:
            continue
        dimensions.append(_dimension(knob, values))
    colour = [model[metrics[0].name] for model in models]
    figure = go.Figure(
        go.Parcoords(
            dimensions=dimensions[:14],
            line={"color": colour, "colorscale": "Viridis", "showscale": True, "colorbar": {"title": {"text": metrics[0].name}}},
            labelangle=-25,
        )
    )
    figure.update_layout(height=520)
    return _styled(figure, top=130)


def curves_figure(curves: dict[int, list[tuple[int, dict[str, float]]]], highlighted: set[int]) -> go.Figure:
    """Return validation accuracy over epochs, a line a trial, those of the front in colour."""
    figure = go.Figure()
    for number, points in curves.items():
        on_front = number in highlighted
        figure.add_scatter(
            x=[epoch + 1 for epoch, _ in points],
            y=[metrics.get("accuracy") for _, metrics in points],
            mode="lines",
            line={"color": BLUE if on_front else GREY, "width": 1.8 if on_front else 0.8},
            opacity=0.9 if on_front else 0.5,
            name=f"trial {number}",
            showlegend=False,
        )
    figure.update_layout(xaxis_title="epoch", yaxis_title="validation accuracy")
    return _styled(figure)


def _flat(model: Model) -> dict[str, Any]:
    candidate = model.candidate
    flat = {f"{candidate.family}.{k}": v for k, v in candidate.knobs.items()}
    for name, knobs in candidate.steps.items():
        flat |= {f"{name}.{k}": v for k, v in knobs.items()}
    return flat


def _dimension(knob: str, values: Sequence[Any]) -> dict[str, Any]:
    label = knob.replace(".", "<br>", 1)
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return {"label": label, "values": list(values)}
    names = sorted({("off" if v is None else str(v)) for v in values})
    places = {name: at for at, name in enumerate(names)}
    return {
        "label": label,
        "values": [places["off" if v is None else str(v)] for v in values],
        "tickvals": list(range(len(names))),
        "ticktext": names,
    }


def _styled(figure: go.Figure, top: int = 60) -> go.Figure:
    return figure.update_layout(
        template="plotly_white",
        margin={"l": 60, "r": 30, "t": top, "b": 50},
        legend={"orientation": "h", "y": 1.08, "x": 1, "xanchor": "right"},
        font={"family": "system-ui, sans-serif", "size": 13},
    )


def _axis(metric: Metric) -> str:
    return metric.name if metric.unit == "1" else f"{metric.name} ({metric.unit})"


def _hover(model: Model) -> str:
    values = "<br>".join(f"{n}: {m.value:.5g}" for n, m in model.measurements.items())
    return f"<b>trial {model.trial}</b><br>{values}<br>" + str(model.candidate).replace(" + ", "<br>+ ").replace(", ", ",<br>  ")


def _section(title: str, text: str, figure: go.Figure, *, first: bool) -> str:
    drawn = plotly.io.to_html(
        figure, full_html=False, include_plotlyjs=first, config={"displaylogo": False, "responsive": True}
    )
    return f"<section><h2>{title}</h2><p>{text}</p>{drawn}</section>"


def _summary(study: Study, best: Sequence[Model], baseline: Model | None, metrics: Sequence[Metric]) -> str:
    counts = study.counts()
    cards = [("trials", str(sum(counts.get(s, 0) for s in ("done", "failed", "rejected"))))]
    cards += [(state, str(counts[state])) for state in ("failed", "rejected", "duplicate") if counts.get(state)]
    cards.append(("models on the front", str(len(best))))
    if baseline is not None and best:
        for metric in metrics:
            model = min(best, key=lambda m: metric.loss(m[metric.name]))
            change = deltas(model, baseline)[metric.name]
            shown = f"{change:+.2%}" if not metric.name.endswith("accuracy") else f"{100 * change:+.2f} points"
            cards.append((f"best {metric.name}", f"{model[metric.name]:.4g}<small>{shown}</small>"))
    return "".join(f"<div class=card><b>{value}</b><span>{html.escape(label)}</span></div>" for label, value in cards)


def _table(best: Sequence[Model], baseline: Model, metrics: Sequence[Metric]) -> str:
    names = [m.name for m in metrics] + [n for n in baseline.measurements if n not in {m.name for m in metrics}]
    for model in best:
        names += [n for n in model.measurements if n not in names]
    head = "".join(f"<th>{html.escape(n)}</th>" for n in names)
    rows = []
    for model in [baseline, *(m for m in best if m.trial != baseline.trial)]:
        changes = deltas(model, baseline)
        cells = "".join(_cell(model, n, None if model is baseline else changes.get(n)) for n in names)
        label = f"{model.trial}" + (" <em>baseline</em>" if model.trial == baseline.trial else "")
        flag = " <em title='MACs fell, latency did not'>slow for its MACs</em>" if model is not baseline and faster_on_paper_only(model, baseline) else ""
        rows.append(f"<tr><td>{label}{flag}</td>{cells}<td class=what>{html.escape(str(model.candidate))}</td></tr>")
    return f"<table><thead><tr><th>trial</th>{head}<th>candidate</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _cell(model: Model, name: str, change: float | None) -> str:
    if name not in model.measurements:
        return "<td></td>"
    measurement = model.measurements[name]
    spread = f" ±{measurement.spread:.2g}" if measurement.spread else ""
    delta = ""
    if change is not None:
        is_share = name.endswith("accuracy")
        good = change > 0 if is_share else change < 0
        text = f"{100 * change:+.2f} pt" if is_share else f"{change:+.1%}"
        delta = f"<small class={'good' if good else 'bad' if change else ''}>{text}</small>"
    return f"<td>{measurement.value:.5g}<i>{spread}</i>{delta}</td>"


def _troubles(study: Study) -> str:
    rows = [row for row in study.rows() if row["state"] in {"failed", "rejected"}]
    if not rows:
        return ""
    items: Callable[[dict[str, Any]], str] = lambda r: f"<tr><td>{r['number']}</td><td>{r['state']}</td><td class=what>{html.escape(r['reason'][:300])}</td></tr>"  # noqa: E731
    body = "".join(items(row) for row in rows[:200])
    return f"<section><h2>Failed and rejected</h2><table><thead><tr><th>trial</th><th>state</th><th>reason</th></tr></thead><tbody>{body}</tbody></table></section>"
