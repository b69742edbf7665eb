"""Figures of studies on pages: the report's, in colours that light and dark pages can hold."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from dash import dcc, html
from dash.development.base_component import Component

from paredown.evaluators.metrics.measurement import Metric
from paredown.search.service.pages.elements import aria
from paredown.search.service.pages.snapshot import Snapshot
from paredown.studies import figures
from paredown.studies.front import Model
from paredown.studies.report import thinned

GREY, LINES, CHOSEN = "#7d8794", "rgba(125,135,148,.22)", "#e11d74"
CAMERA = {"eye": {"x": 1.8, "y": 1.8, "z": 0.9}, "center": {"x": 0, "y": 0, "z": -0.2}}
"""View of figures in space from which the titles of all axes are seen."""
CONFIG: Any = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
}


def graph(name: str, figure: go.Figure | None, label: str, height: int = 430) -> Component:
    """Return the place of a figure.

    Args:
        name: Its id.
        figure: The figure; None where a callback draws it.
        label: What it shows, for those who cannot see it.
        height: Height in pixels.
    """
    options = {} if figure is None else {"figure": on_page(figure)}
    drawn = dcc.Graph(id=name, config=CONFIG, style={"height": f"{height}px"}, **options)
    return html.Div(drawn, role="img", **aria(label=label))


def on_page(figure: go.Figure) -> go.Figure:
    """Return a figure without a background of its own, in greys that are readable on light and dark."""
    axis = {"gridcolor": LINES, "zerolinecolor": LINES, "linecolor": LINES, "tickcolor": LINES}
    figure.update_layout(
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": GREY, "size": 12, "family": "system-ui, sans-serif"},
        hoverlabel={"bgcolor": "#1f2937", "font": {"color": "#f3f4f6"}},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": GREY, "activecolor": figures.BLUE},
        title=None,
        height=None,
        autosize=True,
        uirevision="kept",
    )
    if figure.layout.margin.t == 60:  # the report's titles stand there
        figure.update_layout(margin={"t": 28, "l": 50, "r": 12})
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    lines = {**dict.fromkeys(axis, GREY), "showline": True, "gridwidth": 1, "backgroundcolor": "rgba(0,0,0,0)"}
    figure.update_scenes({f"{one}axis": {**lines, "tickfont": {"size": 10}} for one in "xyz"}, camera=CAMERA)
    return figure


def front_plot(
    snapshot: Snapshot, axes: Sequence[Metric], limits: Mapping[str, float], chosen: int | None
) -> go.Figure:
    """Return the front in two or three dimensions, with the limits and the model that was chosen.

    Args:
        snapshot: Models of the study.
        axes: Metrics of the vertical axis and of the others.
        limits: Worst acceptable value by metric.
        chosen: Trial that was chosen; None without one.
    """
    assert snapshot.baseline is not None
    shown = [m for m in thinned(snapshot.models, snapshot.best, snapshot.baseline) if _has(m, axes)]
    best = [m for m in snapshot.best if _has(m, axes)]
    draw = figures.front_figure_3d if len(axes) == 3 else figures.front_figure
    figure = draw(shown, best, snapshot.baseline, axes)
    model = None if chosen is None else snapshot.model(chosen)
    if model is not None and _has(model, axes):
        values = [[model[metric.name]] for metric in axes]
        mark = {"color": CHOSEN, "size": 7 if len(axes) == 3 else 15, "symbol": "circle-open", "line": {"width": 3}}
        options = {
            "mode": "markers",
            "name": f"chosen: trial {model.trial}",
            "marker": mark,
            "customdata": [model.trial],
        }
        if len(axes) == 3:
            figure.add_scatter3d(z=values[0], x=values[1], y=values[2], hoverinfo="skip", **options)
        else:
            figure.add_scatter(y=values[0], x=values[1], hoverinfo="skip", **options)
    if len(axes) == 2:
        line = {"color": CHOSEN, "width": 1, "dash": "dot"}
        for metric, add in ((axes[0], figure.add_hline), (axes[1], figure.add_vline)):
            if metric.name in limits:
                add(limits[metric.name], line=line)
    return on_page(figure)


def _has(model: Model, metrics: Sequence[Metric]) -> bool:
    return all(metric.name in model.measurements for metric in metrics)
