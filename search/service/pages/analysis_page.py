"""What a study teaches: the hypervolume over trials, which knobs matter, and the learning curves."""

from dash import Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component

from paredown.search.service.pages.dash_server import asker
from paredown.search.service.pages.elements import nothing, panel
from paredown.search.service.pages.place import Place
from paredown.search.service.pages.plots import graph
from paredown.search.service.pages.snapshot import Snapshot, Snapshots
from paredown.search.service.pages.study_frame import study_head
from paredown.search.service.service import Service
from paredown.studies.figures import curves_figure, hypervolume_figure, importances_figure
from paredown.studies.report import MAX_CURVES, MIN_TRIALS_FOR_IMPORTANCES, evenly


def layout(place: Place, snapshots: Snapshots) -> list[Component | None]:
    """Return the page."""
    job = place.job()
    snapshot = snapshots.of(job)
    head = study_head(place, job, "analysis")
    if snapshot is None or snapshot.baseline is None:
        return [
            *head,
            nothing("Nothing to analyse yet", "The figures appear when the baseline, the first trial, is done."),
        ]
    waiting = html.P("Computing ...", className="note")
    knobs = panel(
        "Which knobs matter",
        dcc.Loading(html.Div(waiting, id="importances-place"), type="dot"),
        note="Share of each objective's variance (PED-ANOVA). Narrow the knobs that matter, fix those that do not.",
    )
    return [*head, html.Div([_hypervolume(snapshot), knobs], className="halves"), _curves(snapshot)]


def _hypervolume(snapshot: Snapshot) -> Component:
    share = snapshot.history[-1][1]
    figure = hypervolume_figure(snapshot.history)
    return panel(
        "Hypervolume",
        graph("hypervolume", figure, f"Hypervolume over trials; it is {share:.3f} now", 360),
        note=f"{share:.3f}: the share of the box between perfection and the limits that the front dominates. "
        "A curve that is flat for long says that more trials add little.",
    )


def _curves(snapshot: Snapshot) -> Component | None:
    best = {model.trial for model in snapshot.best}
    stopped = snapshot.reader.numbers("stopped")
    others = [*evenly([m.trial for m in snapshot.models], MAX_CURVES), *evenly(stopped, MAX_CURVES)]
    curves = snapshot.reader.curves(best | set(others))
    if not curves:
        return None
    figure = curves_figure(curves, best, set(stopped))
    note = "Validation accuracy after each epoch; blue: models on the front; dashed: stopped early."
    return panel("Learning curves", graph("curves", figure, "Validation accuracy over epochs", 380), note=note)


def add_callbacks(dash: Dash, service: Service, snapshots: Snapshots) -> None:
    """Add what brings the importances of the knobs, which take seconds."""

    @dash.callback(
        Output("importances-place", "children"), Input("importances-place", "id"), State("study-name", "data")
    )
    def importances(place: str, name: str) -> Component:
        job = service.find(asker(), name)
        snapshot = snapshots.of(job)
        assert snapshot is not None
        found = snapshots.answer(job, snapshot, "importances", lambda: service.importances(job))
        if not found:
            needed = f"It takes {MIN_TRIALS_FOR_IMPORTANCES} finished trials; there are {len(snapshot.models)}."
            return html.P(needed, className="note")
        figure = importances_figure(found)
        height = figure.layout.height or 400
        return graph("importances", figure, "Importance of each knob for each objective", height)
