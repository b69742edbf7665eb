"""The queue: what runs, what waits and in which order, and what rests."""

from typing import Any

from dash import Dash, Input, Output, dcc, html
from dash.development.base_component import Component

from paredown.search.service.overview import Seen
from paredown.search.service.pages.dash_server import asker
from paredown.search.service.pages.elements import card, cards, duration, link, moment, nothing, table
from paredown.search.service.pages.place import Place
from paredown.search.service.pages.snapshot import Snapshots
from paredown.search.service.pages.steering import buttons
from paredown.search.service.pages.studies_page import state_mark
from paredown.search.service.service import Service

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
    everyone = place.service.overview.all(None if place.token.allows("admin") else place.token.owner)
    seen = [one for one in everyone if one.job.state not in ENDED]
    if not seen:
        return [nothing("The queue is empty", link("Start a study", place.href("new")), " and it runs at once.")]
    order = {"running": 0, "queued": 1}
    seen.sort(key=lambda one: (order.get(one.job.state, 2), one.position or len(seen), one.job.id))
    states = [one.job.state for one in seen]
    shown = cards(*(card(name.capitalize(), f"{states.count(name)}") for name in ("running", "queued", "paused")))
    head = [
        "Study",
        "Owner",
        "State",
        "Place",
        "Priority",
        "Starts in",
        "Ends in",
        "Submitted",
        html.Span("Actions", className="sr"),
    ]
    rows = [_row(place, one) for one in seen]
    note = "The owner with the fewest running studies comes first, then the higher priority, then the older study."
    return [shown, table(head, rows, "Studies that run, wait or rest", (1, 2)), html.P(note, className="note under")]


def _row(place: Place, seen: Seen) -> list[Any]:
    job, when = seen.job, seen.estimate
    name = place.name_of(job)
    return [
        link(name, place.href("studies", name)),
        job.owner,
        state_mark(seen),
        "" if seen.position is None else f"{seen.position}",
        f"{job.priority}",
        duration(when.starts_in_s) if when and seen.position else "",
        html.Span(duration(when.ends_in_s), title=when.basis) if when else "",
        moment(job.created_at),
        buttons(place, job),
    ]
