"""Buttons that pause, resume, cancel and delete studies."""

from typing import Any
from urllib.parse import quote

from dash import ALL, Dash, Input, Output, ctx, html, no_update
from dash.development.base_component import Component

from paredown.search.service.pages.changes import changed
from paredown.search.service.pages.dash_server import asker
from paredown.search.service.pages.place import Place, address, name_of
from paredown.search.service.pages.snapshot import Snapshots
from paredown.search.service.service import Service
from paredown.studies.queue.job import Job

LABELS = {"pause": "Pause", "resume": "Resume", "cancel": "Cancel", "delete": "Delete"}
DONE = {
    "pause": "{} stops within a batch; what is finished stays.",
    "resume": "{} is in the queue again.",
    "cancel": "{} ends within a batch; what is finished stays.",
    "delete": "{} is deleted with its trials and files.",
}
RESUMED = ("paused", "cancelled", "failed")


def buttons(place: Place, job: Job, *, can_delete: bool = False) -> Component:
    """Return the buttons that the state of a study allows; none for tokens that only read."""
    allowed: list[str] = []
    if place.token.allows("submit") and not job.stop_requested:
        allowed += ["pause"] if job.state in ("queued", "running") else []
        allowed += ["resume"] if job.state in RESUMED else []
        allowed += ["cancel"] if job.state in ("queued", "running", "paused") else []
        allowed += ["delete"] if can_delete and job.state not in ("queued", "running") else []
    name = name_of(place.token, job)
    return html.Div(
        [
            html.Button(
                [LABELS[what], html.Span(f" {name}", className="sr")],
                id={"act": what, "study": name},
                className="danger" if what in ("cancel", "delete") else "",
            )
            for what in allowed
        ],
        className="actions",
    )


def add_callbacks(dash: Dash, service: Service, snapshots: Snapshots) -> None:
    """Add what the buttons do."""

    @dash.callback(
        Output("said", "children", allow_duplicate=True),
        Output("url", "href", allow_duplicate=True),
        Input({"act": ALL, "study": ALL}, "n_clicks"),
        prevent_initial_call=True,
    )
    def act(clicks: list[int | None]) -> tuple[Any, Any]:
        if not any(clicks) or not isinstance(ctx.triggered_id, dict):
            return no_update, no_update
        what, name = ctx.triggered_id["act"], ctx.triggered_id["study"]
        steer(service, what, name)
        said = html.P(DONE[what].format(name), className="done note-done", role="status")
        return said, address(service) if what == "delete" else no_update


def steer(service: Service, what: str, name: str) -> None:
    """Do what a button says to a study of whoever asks."""
    method, path = ("DELETE", "") if what == "delete" else ("POST", f"/{what}")

    def change() -> None:
        job = service.find(asker(), name)
        if what == "delete":
            service.delete(job)
        elif what == "resume":
            service.jobs.requeue(job, "to resume it", RESUMED)
        else:
            service.jobs.stop(job, what)

    changed(service, "submit", method, f"/v1/studies/{quote(name)}{path}", change)
