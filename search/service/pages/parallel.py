"""Parallel coordinates as plain lines: Plotly's own compile code in the browser, which the pages do not allow."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.search.service.pages.plots import GREY, LINES
from paredown.search.service.pages.snapshot import Snapshot
from paredown.studies.figures import BLUE, ORANGE, parallel_figure
from paredown.studies.front import Model
from paredown.studies.report import thinned

MAX_NAMES = 5
"""Maximum number of names of choices along an axis."""


def parallel_plot(snapshot: Snapshot) -> go.Figure:
    """Return the metrics and the knobs that vary as axes side by side, with a line for each trial."""
    assert snapshot.baseline is not None
    models = thinned(snapshot.models, snapshot.best, snapshot.baseline)
    axes = [axis.to_plotly_json() for axis in parallel_figure(models, snapshot.metrics).data[0].dimensions]
    ranges = [_range(axis["values"]) for axis in axes]
    best = {model.trial for model in snapshot.best}
    groups: dict[str, tuple[str, list[int]]] = {
        "other trials": (GREY, []),
        "front": (BLUE, []),
        "baseline": (ORANGE, []),
    }
    for at, model in enumerate(models):
        is_baseline = model.trial == snapshot.baseline.trial
        groups["baseline" if is_baseline else "front" if model.trial in best else "other trials"][1].append(at)
    figure = go.Figure()
    for name, (colour, places) in groups.items():
        lines = [_line(models[at], axes, ranges, at) for at in places]
        figure.add_scatter(
            x=[x for _ in lines for x in [*range(len(axes)), None]],
            y=[y for line in lines for y in [*line["y"], None]],
            customdata=[line["trial"] for line in lines for _ in range(len(axes) + 1)],
            text=[text for line in lines for text in [*line["text"], ""]],
            hovertemplate="%{text}<extra></extra>",
            mode="lines+markers",
            name=name,
            line={"color": colour, "width": 0.6 if name == "other trials" else 1.6},
            marker={"color": colour, "size": 5},
            opacity=0.45 if name == "other trials" else 0.95,
        )
    for at, (axis, (low, high)) in enumerate(zip(axes, ranges, strict=True)):
        figure.add_vline(at, line={"color": LINES, "width": 1}, layer="below")
        for height, text in _names(axis, low, high):
            style = {"showarrow": False, "font": {"size": 10, "color": GREY}, "xanchor": "left", "xshift": 5}
            figure.add_annotation(x=at, y=height, text=text, **style)
    names = [axis["label"].replace("_", "<br>") if "<br>" in axis["label"] else axis["label"] for axis in axes]
    figure.update_xaxes(
        tickvals=list(range(len(axes))), ticktext=names, tickangle=0, tickfont={"size": 10.5}, side="top"
    )
    figure.update_xaxes(range=[-0.2, len(axes) - 0.35], showgrid=False, zeroline=False)
    figure.update_yaxes(visible=False, range=[-0.07, 1.07])
    legend = {"orientation": "h", "y": -0.02, "x": 1, "xanchor": "right"}
    return figure.update_layout(
        dragmode="select", selectdirection="v", margin={"l": 20, "r": 20, "t": 64, "b": 30}, legend=legend
    )


def selected_trials(selected: Mapping[str, Any] | None) -> list[int] | None:
    """Return the trials of the points that were selected; None where nothing is."""
    if not selected or not selected.get("points"):
        return None
    return sorted({int(point["customdata"]) for point in selected["points"] if point.get("customdata") is not None})


def _line(
    model: Model, axes: Sequence[Mapping[str, Any]], ranges: Sequence[tuple[float, float]], at: int
) -> dict[str, Any]:
    heights, texts = [], []
    for axis, (low, high) in zip(axes, ranges, strict=True):
        value = axis["values"][at]
        heights.append(None if value is None else (value - low) / (high - low))
        texts.append(f"trial {model.trial}<br>{axis['label'].replace('<br>', '.')}: {_text(axis, value)}")
    return {"y": heights, "text": texts, "trial": model.trial}


def _range(values: Sequence[float | None]) -> tuple[float, float]:
    known = [value for value in values if value is not None and math.isfinite(value)] or [0.0]
    low, high = min(known), max(known)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _names(axis: Mapping[str, Any], low: float, high: float) -> list[tuple[float, str]]:
    ticks = list(axis.get("tickvals", ()))
    shown = ticks if ticks and len(ticks) <= MAX_NAMES else [low, high]
    return [((value - low) / (high - low), _text(axis, value)) for value in shown]


def _text(axis: Mapping[str, Any], value: float | None) -> str:
    if value is None:
        return "off"
    if "ticktext" in axis:
        return str(axis["ticktext"][int(value)])
    metric = known_metrics().get(axis["label"])
    return f"{value:g}" if metric is None else metric.format(value)
