"""Parallel coordinates as plain lines: Plotly's own compile code in the browser, which the pages do not allow."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.search.service.pages.brushes import Axis, Brush, boxes, inside
from paredown.search.service.pages.plots import GREY, LINES, on_page
from paredown.search.service.pages.snapshot import Snapshot
from paredown.studies.figures import BLUE, ORANGE
from paredown.studies.report import thinned

MAX_NAMES = 5
"""Maximum number of names of choices along an axis."""
STYLES = {
    "out of range": (GREY, 0.5, 0.12),
    "other trials": (GREY, 0.6, 0.45),
    "front": (BLUE, 1.6, 0.95),
    "baseline": (ORANGE, 1.6, 0.95),
}
"""Colour, width and opacity of the lines of each group, from the back to the front."""


def can_draw(snapshot: Snapshot | None) -> bool:
    """Return whether there is something to compare."""
    return snapshot is not None and snapshot.baseline is not None and len(snapshot.models) > 1


def parallel_plot(snapshot: Snapshot, brushes: Sequence[Brush] = ()) -> go.Figure:
    """Return the metrics and the knobs that vary as axes side by side, with a line for each trial.

    Args:
        snapshot: Models of the study.
        brushes: Ranges; the lines of trials outside are faint.
    """
    assert snapshot.baseline is not None
    axes, values = snapshot.axes
    numbers = trials_inside(snapshot, brushes)
    kept = None if numbers is None else set(numbers)
    best = {model.trial for model in snapshot.best}
    drawn = {model.trial for model in thinned(snapshot.models, snapshot.best, snapshot.baseline)}
    groups: dict[str, list[int]] = {name: [] for name in STYLES}
    for at, trial in enumerate(model.trial for model in snapshot.models):
        if trial in drawn:
            name = "baseline" if trial == snapshot.baseline.trial else "front" if trial in best else "other trials"
            groups[name if kept is None or trial in kept else "out of range"].append(at)
    figure = go.Figure()
    for name, (colour, width, opacity) in STYLES.items():
        places = groups[name]
        trials = [snapshot.models[at].trial for at in places]
        lines = [[axis.height(along[at]) for axis, along in zip(axes, values, strict=True)] for at in places]
        texts = [
            [
                f"trial {trial}<br>{axis.label.replace('<br>', '.')}: {_text(axis, along[at])}"
                for axis, along in zip(axes, values, strict=True)
            ]
            for at, trial in zip(places, trials, strict=True)
        ]
        figure.add_scatter(
            x=[x for _ in lines for x in [*range(len(axes)), None]],
            y=[y for line in lines for y in [*line, None]],
            text=[text for line in texts for text in [*line, ""]],
            hovertemplate="%{text}<extra></extra>",
            mode="lines+markers",
            name=name,
            line={"color": colour, "width": width},
            marker={"color": colour, "size": 5},
            opacity=opacity,
            selected={"marker": {"opacity": 1}},
            unselected={"marker": {"opacity": 1}},
            showlegend=bool(places) or name != "out of range",
        )
    for at, axis in enumerate(axes):
        figure.add_vline(at, line={"color": LINES, "width": 1}, layer="below")
        for value in _named(axis):
            style = {"showarrow": False, "font": {"size": 10, "color": GREY}, "xanchor": "left", "xshift": 5}
            figure.add_annotation(x=at, y=axis.height(value), text=_text(axis, value), **style)
    labels = [axis.label.replace("_", "<br>") if "<br>" in axis.label else axis.label for axis in axes]
    figure.update_xaxes(
        tickvals=list(range(len(axes))), ticktext=labels, tickangle=0, tickfont={"size": 10.5}, side="top"
    )
    figure.update_xaxes(range=[-0.2, len(axes) - 0.35], showgrid=False, zeroline=False)
    figure.update_yaxes(visible=False, range=[-0.07, 1.07])
    legend = {"orientation": "h", "y": -0.02, "x": 1, "xanchor": "right"}
    figure.update_layout(dragmode="select", margin={"l": 20, "r": 20, "t": 64, "b": 30}, legend=legend)
    line = {"color": BLUE, "width": 1, "dash": "solid"}
    figure.update_layout(selections=[{**box, "line": line} for box in boxes(brushes, axes)], editrevision=str(brushes))
    return on_page(figure)


def trials_inside(snapshot: Snapshot, brushes: Sequence[Brush]) -> list[int] | None:
    """Return the numbers of the trials in the ranges; None where there is no range."""
    places = inside(brushes, *snapshot.axes)
    return None if places is None else [snapshot.models[at].trial for at in places]


def _named(axis: Axis) -> list[float]:
    """Return the values that are written along an axis."""
    return [*range(len(axis.choices))] if 0 < len(axis.choices) <= MAX_NAMES else [axis.low, axis.high]


def _text(axis: Axis, value: float) -> Any:
    if axis.choices:
        return axis.choices[int(value)]
    metric = known_metrics().get(axis.label)
    return f"{value:g}" if metric is None else metric.format(value)
