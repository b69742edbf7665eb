"""The queue: what runs, what waits and in which order, and what rests."""

from typing import Any

from dash import Dash, Input, Output, dcc, html
from dash.development.base_component import Component

from paredown.search.service.pages.dash_server import asker
from paredown.search.service.pages.elements import card, cards, link, moment, nothing, pill, table
from paredown.search.service.pages.place import Place
from paredown.search.service.pages.snapshot import Snapshots
from paredown.search.service.pages.steering import buttons
from paredown.search.service.service import Service
from paredown.studies.queue.jobs import Job

EVERY_MS = 2000
ENDED = ("done", "failed", "cancelled")


def layout(place: Place, snapshots: Snapshots) -> list[Component]:
    """Return the page."""
    return [
        html.Div(html.H1("Queue"), className="head"),
        html.Div(_queue(place), id="queue"),
        dcc.Interval(id="queue-tick", interval=EVERY_MS),
    ]


def add_callbacks(dash: Dash, service: Service, snapshots: Snapshots) -> None:
    """Add what keeps the page up to date."""

    @dash.callback(
        Output("queue", "children"),
        Input("queue-tick", "n_intervals"),
        prevent_initial_call=True,
    )
    def refresh(ticks: int) -> list[Component]:
        return _queue(Place(service, asker(), ("queue",)))


def _queue(place: Place) -> list[Component]:
    jobs = [job for job in place.service.list(place.token) if job.state not in ENDED]
    if not jobs:
        return [nothing("The queue is empty", link("Start a study", place.href("new")), " and it runs at once.")]
    places = {job.id: place.service.overview.look(job).position for job in jobs}
    order = {"running": 0, "queued": 1}
    jobs.sort(key=lambda job: (order.get(job.state, 2), places[job.id] or 0, job.id))
    states = [job.state for job in jobs]
    shown = cards(*(card(name.capitalize(), f"{states.count(name)}") for name in ("running", "queued", "paused")))
    head = [
        "Study",
        "Owner",
        "State",
        "Place",
        "Priority",
        "Submitted",
        "Started",
        html.Span("Actions", className="sr"),
    ]
    rows = [_row(place, job, places[job.id]) for job in jobs]
    note = "The owner with the fewest running studies comes first, then the higher priority, then the older study."
    return [shown, table(head, rows, "Studies that run, wait or rest", (1, 2)), html.P(note, className="note under")]


def _row(place: Place, job: Job, at: int | None) -> list[Any]:
    asked = {"pause": "pausing", "cancel": "cancelling"}.get(job.stop_requested, "")
    name = place.name_of(job)
    return [
        link(name, place.href("studies", name)),
        job.owner,
        pill(job.state, asked),
        "" if at is None else f"{at}",
        f"{job.priority}",
        moment(job.created_at),
        moment(job.started_at),
        buttons(place, job),
    ]
