"""The page of all studies: what runs, what waits, and the best that was found."""

from typing import Any

from dash import Dash, Input, Output, dcc, html
from dash.development.base_component import Component

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.search.service.overview import Seen
from paredown.search.service.pages.dash_server import asker
from paredown.search.service.pages.elements import aria, duration, link, moment, nothing, pill, table
from paredown.search.service.pages.place import Place
from paredown.search.service.pages.snapshot import Snapshots
from paredown.search.service.service import Service

EVERY_MS = 3000
SHOWN = 200
"""Maximum number of studies on the page, the latest first."""


def layout(place: Place, snapshots: Snapshots) -> list[Component]:
    """Return the page."""
    return [
        html.Div(
            [html.H1("Studies"), link("New study", place.href("new"), className="button primary")], className="head"
        ),
        html.Div(_studies(place), id="studies"),
        dcc.Interval(id="studies-tick", interval=EVERY_MS),
    ]


def add_callbacks(dash: Dash, service: Service, snapshots: Snapshots) -> None:
    """Add what keeps the page up to date."""

    @dash.callback(Output("studies", "children"), Input("studies-tick", "n_intervals"), prevent_initial_call=True)
    def refresh(ticks: int) -> Component:
        return _studies(Place(service, asker(), ()))


def progress_bar(done: int, total: int, label: str) -> Component:
    """Return how far a study is."""
    share = min(1.0, done / max(total, 1))
    return html.Div(
        html.Div(style={"width": f"{100 * share:.1f}%"}),
        className="bar",
        role="progressbar",
        title=f"{done} of {total} trials",
        **aria(label=label, valuenow=round(100 * share), valuemin=0, valuemax=100),
    )


def _studies(place: Place) -> Component:
    seen = place.service.overview.all(None if place.token.allows("admin") else place.token.owner)[::-1]
    if not seen:
        return nothing(
            "No studies yet",
            "A study searches for networks that are small, fast and accurate. ",
            link("Start one from an example", place.href("new")),
            ", or send a study file from a terminal: ",
            html.Code("paredown submit examples/digits.yaml"),
            ".",
        )
    shown = seen[:SHOWN]
    owners = len({one.job.owner for one in seen}) > 1
    head = [
        "Study",
        *(["Owner"] if owners else []),
        "State",
        "Progress",
        "Trials",
        "Best so far",
        "Time left",
        "Submitted",
    ]
    words = [at for at, name in enumerate(head) if name in ("Owner", "State", "Progress", "Best so far")]
    rows = [_row(place, one, owners) for one in shown]
    caption = "Studies, the latest first"
    more = html.P(f"The latest {SHOWN} of {len(seen):,} studies.", className="note") if len(seen) > SHOWN else None
    return html.Div([table(head, rows, caption, words), more])


def _row(place: Place, seen: Seen, owners: bool) -> list[Any]:
    job, counts = seen.job, seen.figures.counts
    done = sum(counts.get(state, 0) for state in ("done", "failed", "stopped"))
    left = seen.estimate.ends_in_s if seen.estimate else None
    return [
        link(place.name_of(job), place.href("studies", place.name_of(job))),
        *([job.owner] if owners else []),
        state_mark(seen),
        progress_bar(done, job.trials, f"progress of {job.study}"),
        f"{done:,} / {job.trials:,}",
        best_text(seen.figures.best),
        duration(left),
        moment(job.created_at),
    ]


def state_mark(seen: Seen) -> Component:
    """Return the mark of the state of a study, with what is asked of it and its place in the queue."""
    asked = {"pause": "pausing", "cancel": "cancelling"}.get(seen.job.stop_requested, "")
    waiting = f"{seen.state}, place {seen.position}" if seen.position else seen.state
    return pill(seen.state, asked or waiting)


def best_text(best: dict[str, float]) -> Component | str:
    """Return the best value of each objective."""
    known = known_metrics()
    parts = [html.Span([html.Small(name), known[name].format(value)], className="fact") for name, value in best.items()]
    return html.Span(parts, className="facts") if parts else "-"
