"""Two to four models of a study side by side."""

from typing import Any

from dash import Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component

from paredown.evaluators.metrics.measurement import Metric
from paredown.search.service.pages.candidate_text import dotted_knobs
from paredown.search.service.pages.elements import dropdown_label, link, nothing, panel, table, value_cell
from paredown.search.service.pages.place import Place, address
from paredown.search.service.pages.plots import graph
from paredown.search.service.pages.snapshot import Snapshot, Snapshots
from paredown.search.service.pages.study_frame import study_head
from paredown.search.service.service import Service
from paredown.studies.figures import BLUE, GREEN, ORANGE, curves_figure
from paredown.studies.front import Model
from paredown.studies.latency_remarks import latency_remarks

MOST = 4
COLOURS = (BLUE, ORANGE, GREEN, "#a855f7")


def layout(place: Place, snapshots: Snapshots) -> list[Component]:
    """Return the page."""
    job = place.job()
    head, snapshot = study_head(place, job, "compare"), snapshots.of(job)
    if snapshot is None or not snapshot.models:
        return [*head, nothing("Nothing to compare yet", "The study has no finished model.")]
    numbers = [int(one) for one in place.query.get("trials", "").split(",") if one.isdecimal() and len(one) < 10]
    models = [model for number in dict.fromkeys(numbers) if (model := snapshot.model(number)) is not None][:MOST]
    offered = [{"label": f"trial {model.trial}", "value": model.trial} for model in snapshot.best]
    known = {one["value"] for one in offered}
    offered += [{"label": f"trial {m.trial}", "value": m.trial} for m in models if m.trial not in known]
    chooser = html.Div(
        [
            dropdown_label(f"Models, {MOST} at most", "compared"),
            dcc.Dropdown(offered, [model.trial for model in models], id="compared", multi=True),
        ]
    )
    if len(models) < 2:
        return [*head, panel("Compare", chooser, note="Choose two to four models."), html.Div(id="comparison")]
    return [*head, panel("Compare", chooser), *_comparison(place, snapshot, models)]


def _comparison(place: Place, snapshot: Snapshot, models: list[Model]) -> list[Any]:
    name, baseline = place.parts[1], snapshot.baseline
    columns = [link(f"Trial {m.trial}", place.href("studies", name, "trials", m.trial)) for m in models]
    measured: list[list[Any]] = [
        [
            metric.name,
            *([_best(metric, model, models), *value_cell(metric, model, baseline)] for model in models),
        ]
        for metric in snapshot.measured
    ]
    knobs = {model.trial: dotted_knobs(model.candidate) for model in models}
    names = sorted({knob for found in knobs.values() for knob in found})
    differing = [knob for knob in names if len({str(knobs[m.trial].get(knob)) for m in models}) > 1]
    rows: list[list[Any]] = [
        [knob, *(str(knobs[model.trial].get(knob, "-")) for model in models)] for knob in differing
    ]
    said = ["; ".join(latency_remarks(model, baseline, snapshot.fp32_models)) or "-" for model in models]
    remarks: list[list[Any]] = [["Remarks", *said]]
    curves = snapshot.reader.curves([model.trial for model in models])
    figure = curves_figure(curves, {model.trial for model in models})
    colours = {f"trial {m.trial}": colour for m, colour in zip(models, COLOURS, strict=False)}
    for trace in figure.data:
        colour = colours[trace.name]
        trace.update(
            mode="lines+markers",
            line={"color": colour, "width": 2},
            marker={"color": colour, "size": 6, "symbol": "circle"},
        )
        trace.showlegend = True
    return [
        panel(
            "Measurements",
            table(["Metric", *columns], measured + remarks, "Measurements of the models"),
            note="Changes are against the baseline; a dot marks the best.",
        ),
        panel("Where the candidates differ", table(["Knob", *columns], rows, "Knobs that differ"))
        if rows
        else panel("Where the candidates differ", html.P("In nothing.", className="note")),
        panel("Learning curves", graph("compared-curves", figure, "Validation accuracy over epochs of the models", 320))
        if curves
        else None,
    ]


def _best(metric: Metric, model: Model, models: list[Model]) -> Component | None:
    name = metric.name
    values = [metric.loss(one[name]) for one in models if name in one.measurements]
    if name not in model.measurements or len(set(values)) < 2 or metric.loss(model[name]) > min(values):
        return None
    return html.Span([html.Span("best", className="sr")], className="dot")


def add_callbacks(dash: Dash, service: Service, snapshots: Snapshots) -> None:
    """Add what opens the comparison of other models."""

    @dash.callback(
        Output("url", "href", allow_duplicate=True),
        Input("compared", "value"),
        State("study-name", "data"),
        prevent_initial_call=True,
    )
    def choose(trials: list[int], name: str) -> str:
        return address(service, "studies", name, "compare", trials=",".join(map(str, trials[:MOST])))
