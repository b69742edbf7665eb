"""The first page of a study: its front, which model to take, and the models to compare."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from dash import ALL, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from paredown.evaluators.devices.catalogue import device_ids
from paredown.search.api.model_table import ModelTable
from paredown.search.service.pages.dash_server import asker
from paredown.search.service.pages.elements import (
    aria,
    dropdown_label,
    link,
    nothing,
    panel,
    problem,
    table,
    value_cell,
)
from paredown.search.service.pages.place import Place, address
from paredown.search.service.pages.plots import front_plot, graph
from paredown.search.service.pages.snapshot import Snapshot, Snapshots
from paredown.search.service.pages.study_frame import EVERY_MS, study_head
from paredown.search.service.pages.which_model import (
    answer,
    answer_on_device,
    answer_text,
    limit_text,
    on_device,
    sliders,
    stops,
)
from paredown.search.service.service import Service
from paredown.spaces.errors import ParedownError
from paredown.studies.queue.job import Job
from paredown.studies.region import binding_text, limit_texts, nearest

MAX_COMPARED = 4
MAX_LISTED = 60
"""Maximum number of models in the table below the front."""
AXES = ("y", "x", "z")
CHOSEN, FRESH, SLIDERS = {"front": "chosen"}, {"fresh": "models"}, {"part": "sliders"}
"""Store of the limits with the model that was chosen, store of when new models came, and the place of the sliders. A
callback may name them as all of their kind, of which there may be none: as long as the baseline runs, there is nothing
to choose from."""


def layout(place: Place, snapshots: Snapshots) -> list[Component]:
    """Return the page."""
    job = place.job()
    snapshot = snapshots.of(job)
    return [
        *study_head(place, job),
        html.Div(_front(place, job, snapshot), id="front"),
        html.Div(_models(place, job, snapshot), id="front-models"),
        dcc.Store(id="front-version", data="" if snapshot is None else snapshot.version),
        dcc.Interval(id="front-tick", interval=EVERY_MS),
    ]


def _front(place: Place, job: Job, snapshot: Snapshot | None) -> Component:
    if snapshot is None or snapshot.baseline is None:
        return _waiting(job)
    broken = binding_text(snapshot.models, snapshot.objectives)
    limits = ", ".join(limit_texts(snapshot.objectives))
    devices = [{"label": name, "value": name} for name in device_ids()]
    wanted = place.query.get("device")
    which = panel(
        "Which model",
        html.Div(sliders(snapshot, place.query), id=SLIDERS),
        dropdown_label("Device", "device"),
        dcc.Dropdown(devices, wanted if wanted in device_ids() else None, id="device", placeholder="any"),
        dcc.Loading(html.Div(id="answer", className="answer", **aria(live="polite")), delay_show=300, type="dot"),
        note="The most accurate model within the limits." if snapshot.metrics[0].name == "accuracy" else None,
    )
    figure = panel(
        "Front",
        problem(f"{broken}. The table shows the models that come nearest.") if broken else None,
        _axes(place, snapshot),
        graph("front-plot", None, "The front of the study; the table below holds its values", 520),
        note=[
            f"Limits of the study: {limits}. " if limits else "",
            "Each point is a model that was trained and measured. Click one to open its trial.",
        ],
    )
    return html.Div([figure, which, dcc.Store(id=CHOSEN), dcc.Store(id=FRESH, data=0)], className="columns")


def _waiting(job: Job) -> Component:
    if job.state in ("queued", "running"):
        return nothing(
            "No model yet",
            "The front appears here by itself when the baseline, the first trial, is done. ",
            *(
                [
                    "It needs a worker: ",
                    html.Code("paredown serve"),
                    " starts one, others run ",
                    html.Code("paredown worker"),
                    ".",
                ]
                if job.state == "queued"
                else ["The log shows what happens now."]
            ),
        )
    return nothing("No model", f"Of this study, which is {job.state}, no trial is done. Its log says why.")


def _axes(place: Place, snapshot: Snapshot) -> Component:
    names = [metric.name for metric in snapshot.measured]
    standard = [*(metric.name for metric in snapshot.metrics), *names]
    chosen = [place.query.get(axis) for axis in AXES]
    values = [one if one in names else standard[min(at, len(standard) - 1)] for at, one in enumerate(chosen)]
    can_turn = len(names) >= 3
    labels = ("Vertical", "Horizontal", "Depth")
    fields = [
        html.Div(
            [dropdown_label(label, f"axis-{axis}"), dcc.Dropdown(names, value, id=f"axis-{axis}", clearable=False)],
            id=f"field-{axis}",
        )
        for axis, label, value in zip(AXES, labels, values, strict=True)
    ]
    shown = "3" if place.query.get("view") == "3" and can_turn else "2"
    options = [{"label": "2-D", "value": "2"}, {"label": "3-D", "value": "3", "disabled": not can_turn}]
    view = html.Div(
        [
            html.Span("View", className="label"),
            dcc.RadioItems(options, shown, id="view", inline=True, className="choice"),
        ]
    )
    return html.Div([*fields, view], className="fields")


def _models(place: Place, job: Job, snapshot: Snapshot | None) -> Component | None:
    if snapshot is None or snapshot.baseline is None:
        return None
    baseline, name = snapshot.baseline, place.name_of(job)
    best = snapshot.best or nearest(snapshot.models, snapshot.objectives)
    words = ModelTable(snapshot.measured, baseline, snapshot.reader.step_labels)
    head = [html.Span("Compare", className="sr"), "Trial", *(m.name for m in snapshot.metrics), "Family", "Compression"]
    rows = []
    for model in [
        baseline,
        *(m for m in best[:MAX_LISTED] if m.trial != baseline.trial),
    ]:
        pick = dcc.Checklist(
            [{"label": html.Span(f"compare trial {model.trial}", className="sr"), "value": model.trial}],
            [],
            id={"pick": model.trial},
            className="pick",
        )
        trial = link(f"{model.trial}", place.href("studies", name, "trials", model.trial))
        is_baseline = model.trial == baseline.trial
        rows.append(
            [
                pick,
                html.Span([trial, " baseline" if is_baseline else ""]),
                *(value_cell(metric, model, baseline) for metric in snapshot.metrics),
                model.candidate.family,
                "" if is_baseline else words.compression(model),
            ]
        )
    compare = link("Compare", place.href("studies", name, "compare"), id="compare-link", className="button")
    first = 2 + len(snapshot.metrics)
    more = f" The table shows the first {MAX_LISTED}; the sliders find any." if len(best) > MAX_LISTED else ""
    return html.Section(
        [
            html.Div([html.H2(f"{len(snapshot.best)} models on the front"), compare], className="head tight"),
            html.P(
                ["Changes are against the baseline. Tick two to four models to compare them.", more], className="note"
            ),
            table(head, rows, "Models on the front", (1, first, first + 1)),
        ],
        className="panel",
    )


def add_callbacks(dash: Dash, service: Service, snapshots: Snapshots) -> None:
    """Add what answers the sliders, draws the front and keeps the address."""
    _add_links(dash, service)

    def found(name: str) -> tuple[Place, Job, Snapshot | None]:
        place = Place(service, asker(), ("studies", name))
        job = place.job()
        return place, job, snapshots.of(job)

    @dash.callback(
        Output("front", "children"),
        Output("front-models", "children"),
        Output("front-version", "data"),
        Output({"fresh": ALL}, "data"),
        Output({"part": ALL}, "children"),
        Input("front-tick", "n_intervals"),
        State("front-version", "data"),
        State({"front": ALL}, "data"),
        State({"fresh": ALL}, "data"),
        State("study-name", "data"),
        prevent_initial_call=True,
    )
    def refresh(ticks: int, version: str, chosen: list[Any], fresh: list[int], name: str) -> tuple[Any, ...]:
        place, job, snapshot = found(name)
        if snapshot is None or snapshot.version == version:
            raise PreventUpdate
        if not fresh:
            return _front(place, job, snapshot), _models(place, job, snapshot), snapshot.version, [], []
        limits = {f"limit_{metric}": repr(limit) for one in chosen if one for metric, limit in one["limits"].items()}
        return no_update, _models(place, job, snapshot), snapshot.version, [ticks], [sliders(snapshot, limits)]

    @dash.callback(
        Output("answer", "children"),
        Output(CHOSEN, "data"),
        Output({"limit-text": ALL}, "children"),
        Input({"limit": ALL}, "value"),
        Input("device", "value"),
        Input({"fresh": ALL}, "data"),
        State("study-name", "data"),
    )
    def choose_model(
        values: Sequence[int], device: str | None, fresh: list[int], name: str
    ) -> tuple[Any, Any, list[str]]:
        place, job, snapshot = found(name)
        assert snapshot is not None
        ids = [one["id"]["limit"] for one in ctx.inputs_list[0]]
        by_name = {one.metric.name: one for one in stops(snapshot)}
        texts = [limit_text(by_name[one], value) for one, value in zip(ids, values, strict=True)]
        limits = {
            one: limit
            for one, value in zip(ids, values, strict=True)
            if (limit := by_name[one].limit(value)) is not None
        }
        data: dict[str, Any] = {"limits": limits, "trial": None, "device": device}
        try:
            if device is None:
                got = answer(snapshot, limits)
            else:
                seen = on_device(service, snapshots, job, device)
                got = answer_on_device(seen, snapshot, limits, device)
        except ParedownError as error:
            said = str(error)
            return problem(f"{said[:1].upper()}{said[1:]}.", "Loosen a limit."), data, texts
        return answer_text(place, job, snapshot, got), data | {"trial": got.model.trial}, texts

    @dash.callback(
        Output("front-plot", "figure"),
        Output("field-z", "hidden"),
        Output("url", "search"),
        Input("axis-y", "value"),
        Input("axis-x", "value"),
        Input("axis-z", "value"),
        Input("view", "value"),
        Input(CHOSEN, "data"),
        State("study-name", "data"),
    )
    def draw(y: str, x: str, z: str, view: str, chosen: Mapping[str, Any] | None, name: str) -> tuple[Any, bool, Any]:
        axes = (y, x, z)
        _, _, snapshot = found(name)
        assert snapshot is not None
        chosen = chosen or {"limits": {}, "trial": None, "device": None}
        by_name = {metric.name: metric for metric in snapshot.measured}
        shown = [by_name[axis] for axis in axes[: int(view)] if axis in by_name]
        figure = front_plot(snapshot, shown, chosen["limits"], chosen["trial"])
        query = dict(zip(AXES, axes[: int(view)], strict=False)) | {"view": view}
        query |= {f"limit_{metric}": repr(limit) for metric, limit in chosen["limits"].items()}
        query |= {"device": chosen["device"]} if chosen["device"] else {}
        return (
            figure,
            view == "2",
            f"?{urlencode(query)}" if chosen["trial"] is not None or chosen["limits"] else no_update,
        )


def _add_links(dash: Dash, service: Service) -> None:
    """Add what opens a trial, and the comparison of models."""

    @dash.callback(
        Output("url", "href", allow_duplicate=True),
        Input("front-plot", "clickData"),
        State("study-name", "data"),
        prevent_initial_call=True,
    )
    def open_trial(clicked: Mapping[str, Any] | None, name: str) -> Any:
        if not clicked or (trial := clicked["points"][0].get("customdata")) is None:
            return no_update
        return address(service, "studies", name, "trials", trial)

    @dash.callback(
        Output("compare-link", "href"),
        Output("compare-link", "children"),
        Input({"pick": ALL}, "value"),
        State("study-name", "data"),
    )
    def compare(picked: Sequence[Sequence[int]], name: str) -> tuple[str, str]:
        trials = [trial for one in picked for trial in one][:MAX_COMPARED]
        query = {"trials": ",".join(map(str, trials))} if trials else {}
        return address(service, "studies", name, "compare", **query), f"Compare {len(trials)}" if trials else "Compare"
