"""One trial: the candidate in words, its measurements, its curve, why it failed, its files, and the model to take."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from dash import ALL, Dash, Input, Output, State, ctx, html, no_update
from dash.development.base_component import Component

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.search.service.pages.candidate_text import in_words
from paredown.search.service.pages.changes import changed
from paredown.search.service.pages.dash_server import asker
from paredown.search.service.pages.elements import change, link, panel, pill, problem, table
from paredown.search.service.pages.place import Place, name_of
from paredown.search.service.pages.plots import graph
from paredown.search.service.pages.snapshot import Snapshot, Snapshots
from paredown.search.service.pages.study_frame import study_head
from paredown.search.service.service import Service
from paredown.studies.exporters.catalogue import EXPORTERS, folder_name
from paredown.studies.figures import BLUE, curves_figure
from paredown.studies.front import Model
from paredown.studies.latency_remarks import latency_remarks
from paredown.studies.queue.job import Job
from paredown.studies.result import RETRIED_AS


def layout(place: Place, snapshots: Snapshots) -> list[Component]:
    """Return the page."""
    job, number = place.job(), place.parts[3]
    head, snapshot = study_head(place, job, "trials"), snapshots.of(job)
    row = None if snapshot is None or not number.isdecimal() else snapshot.reader.trial(min(int(number), 2**31 - 1))
    if snapshot is None or row is None:
        return [
            *head,
            problem(
                f"The study has no trial {number[:40]}.",
                link("See its trials", place.href("studies", place.parts[1], "trials")),
            ),
        ]
    model = snapshot.model(row["trial"])
    title = html.Div(
        [html.H2(f"Trial {row['trial']}", className="large"), pill(row["state"], _state(row))], className="title"
    )
    return [
        *head,
        title,
        html.Div(
            [html.Div(_about(place, row, snapshot, model)), html.Div(_beside(place, job, row, model))],
            className="columns",
        ),
    ]


def _state(row: Mapping[str, Any]) -> str:
    return "done, breaks a limit" if row["feasible"] is False else str(row["state"])


def _about(place: Place, row: Mapping[str, Any], snapshot: Snapshot, model: Model | None) -> list[Any]:
    remarks = [] if model is None else latency_remarks(model, snapshot.baseline, snapshot.fp32_models)
    cause = f"{row['cause']}: " if row["cause"] else ""
    measured = table(
        ["Metric", "Value", "Baseline", "Change", "How"], _measurements(snapshot, model), "Measurements", (4,)
    )
    name = place.parts[1]
    variant = place.href("studies", name, "change", like=row["trial"])
    origin = (
        []
        if row["parent"] is None
        else [
            "Derived from trial ",
            link(f"{row['parent']}", place.href("studies", name, "trials", row["parent"])),
            " without training. ",
        ]
    )
    other = row["facts"].get(RETRIED_AS)
    again = (
        None
        if other is None
        else ["It runs again as ", link(f"trial {other}", place.href("studies", name, "trials", other)), "."]
    )
    return [
        panel("Why it is not done", html.Pre(cause + row["reason"]), note=again) if row["reason"] else None,
        panel(
            "Candidate",
            html.Pre(in_words(row["candidate"]).replace(" + ", "\n+ ")),
            html.Div(link("Try a variant", variant, className="button"), className="under")
            if place.token.allows("submit")
            else None,
            note=origin or None,
        ),
        panel(
            "Measurements",
            measured,
            note=("; ".join(remarks) + ".").capitalize() if remarks else "± is half of the 95 % confidence interval.",
        )
        if model is not None
        else None,
        _curve(snapshot, row),
        *_skipped(row["facts"].get("skipped", {})),
    ]


def _measurements(snapshot: Snapshot, model: Model | None) -> list[list[Any]]:
    known, rows = known_metrics(), []
    for name, found in ({} if model is None else model.measurements).items():
        if name not in known or model is None:
            continue
        metric, reference = known[name], snapshot.baseline
        has_reference = reference is not None and name in reference.measurements
        how = found.how + (f" on {found.device}" if found.device else "")
        baseline = metric.format(reference[name]) if reference is not None and has_reference else "-"
        rows.append([name, metric.format(found.value, found.spread), baseline, change(metric, model, reference), how])
    return rows


def _curve(snapshot: Snapshot, row: Mapping[str, Any]) -> Component:
    curves = snapshot.reader.curves([row["trial"]])
    if not curves:
        why = (
            "It was not trained: its weights come from another trial."
            if row["parent"] is not None
            else "No epoch of it has ended."
        )
        return panel("Learning curve", html.P(why, className="note"))
    drawn = curves_figure(curves, {row["trial"]}, {row["trial"]} if row["state"] == "stopped" else set())
    figure: go.Figure = drawn.update_traces(
        mode="lines+markers", line={"color": BLUE, "width": 2}, marker={"color": BLUE, "size": 6}
    )
    return panel("Learning curve", graph("curve", figure, "Validation accuracy after each epoch", 300))


def _skipped(skipped: Mapping[str, Any]) -> list[Component]:
    if not skipped:
        return []
    parts = [
        html.Details([html.Summary(f"{step}: {len(layers)} layers"), html.Pre("\n".join(map(str, _lines(layers))))])
        for step, layers in skipped.items()
    ]
    return [
        panel("Layers left alone", *parts, note="Compression steps leave out what they cannot change without harm.")
    ]


def _lines(layers: Any) -> list[str]:
    return (
        [f"{name}: {why}" for name, why in layers.items()] if isinstance(layers, dict) else [str(one) for one in layers]
    )


def _beside(place: Place, job: Job, row: Mapping[str, Any], model: Model | None) -> list[Any]:
    taken = []
    for stage, seconds in row["facts"].get("seconds", {}).items():
        taken += [html.Dt(stage), html.Dd(f"{seconds:.1f} s" if isinstance(seconds, int | float) else str(seconds))]
    times = [html.Dt("Started"), html.Dd(row["started_at"][:19].replace("T", " ") + " UTC")]
    if row["finished_at"]:
        times += [html.Dt("Finished"), html.Dd(row["finished_at"][:19].replace("T", " ") + " UTC")]
    times += [html.Dt("Attempt"), html.Dd(f"{row['attempt']}")]
    return [
        panel(
            "Take it",
            html.Div(_formats(place, job, model), id="formats"),
            note="A folder with the model, its card, its manifest and what it was checked for.",
        )
        if model is not None
        else None,
        panel("Time", html.Dl([*times, *taken], className="list")),
        panel("Files", *_files(Path(job.folder, row["artifact"])), note="Of this trial, on the server.")
        if row["artifact"]
        else None,
    ]


def _files(folder: Path) -> list[Component]:
    found = (
        [one for one in sorted(folder.rglob("*")) if one.is_file() and not one.is_symlink()] if folder.is_dir() else []
    )
    if not found:
        return [html.P("They are gone.", className="note")]
    rows = [[str(one.relative_to(folder)), f"{one.stat().st_size:,} B"] for one in found]
    return [table(["File", "Size"], rows, "Files of the trial")]


def _formats(place: Place, job: Job, model: Model) -> list[Component]:
    shown, name = [], place.name_of(job)
    for exporter in EXPORTERS.values():
        if Path(job.folder, "models", folder_name(model, exporter)).is_dir():
            href = place.href("download", name, "models", model.trial, exporter.name)
            button: Component = html.A(f"Download {exporter.name}", href=href, className="button primary", download="")
        elif place.token.allows("submit"):
            button = html.Button(f"Export {exporter.name}", id={"export": exporter.name, "trial": model.trial})
        else:
            button = html.Span(
                f"{exporter.name} is not exported; that needs a token with the scope submit.", className="note"
            )
        shown.append(button)
    return [html.Div(shown, className="actions")]


def add_callbacks(dash: Dash, service: Service, snapshots: Snapshots) -> None:
    """Add what exports a model."""

    @dash.callback(
        Output("formats", "children"),
        Input({"export": ALL, "trial": ALL}, "n_clicks"),
        State("study-name", "data"),
        prevent_initial_call=True,
        running=[(Output({"export": ALL, "trial": ALL}, "disabled"), True, False)],
    )
    def export(clicks: list[int | None], name: str) -> Any:
        asked = ctx.triggered_id
        if not any(clicks) or not isinstance(asked, dict):
            return no_update
        job = service.find(asker(), name)
        export_model(service, job, int(asked["trial"]), str(asked["export"]))
        snapshots.forget(job)
        snapshot = snapshots.of(job)
        model = None if snapshot is None else snapshot.model(int(asked["trial"]))
        return no_update if model is None else _formats(Place(service, asker(), ("studies", name)), job, model)


def export_model(service: Service, job: Job, trial: int, name: str) -> None:
    """Export a model for whoever asks."""
    options = ["--trial", str(trial), "--out", str(Path(job.folder, "models")), "--format", name]
    path = f"/v1/studies/{name_of(asker(), job)}/models/{trial}/export"
    changed(service, "submit", "POST", path, lambda: service.command("export", job.stored_name, *options))
