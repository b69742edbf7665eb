"""What stands above every page of a study: its name, how far it is, what can be done with it, and its pages."""

from dash import Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.search.service.pages.dash_server import asker
from paredown.search.service.pages.elements import aria, card, cards, duration, link, pill, problem
from paredown.search.service.pages.place import Place, name_of
from paredown.search.service.pages.snapshot import Snapshots
from paredown.search.service.pages.steering import buttons
from paredown.search.service.pages.studies_page import progress_bar
from paredown.search.service.service import RESTING, Service
from paredown.studies.queue.job import Job

EVERY_MS = 3000
TABS = (
    ("Front", ()),
    ("Trials", ("trials",)),
    ("Analysis", ("analysis",)),
    ("Log", ("log",)),
    ("Study file", ("file",)),
)
CHANGE = ("Change", ("change",))
"""The page for tokens that may change a study."""


def study_head(place: Place, job: Job, *current: str) -> list[Component]:
    """Return what stands above a page of a study.

    Args:
        place: Where the browser is.
        job: The study.
        current: Parts of the path of the page below the study's.
    """
    name = place.name_of(job)
    tabs = [
        link(text, place.href("studies", name, *parts), className="here" if parts == current else "")
        for text, parts in (*TABS, *((CHANGE,) if place.token.allows("submit") else ()))
    ]
    return [
        html.Div(_head(place, job), id="study-head"),
        html.Nav(tabs, className="tabs", **aria(label=f"Pages of {name}")),
        dcc.Store(id="study-name", data=name),
        dcc.Interval(id="study-tick", interval=EVERY_MS),
    ]


def add_callbacks(dash: Dash, service: Service, snapshots: Snapshots) -> None:
    """Add what keeps the head up to date."""

    @dash.callback(
        Output("study-head", "children"),
        Input("study-tick", "n_intervals"),
        State("study-name", "data"),
        prevent_initial_call=True,
    )
    def refresh(ticks: int, name: str) -> list[Component]:
        return _head(Place(service, asker(), ("studies", name)), service.find(asker(), name))


def _head(place: Place, job: Job) -> list[Component]:
    now, name = place.service.progress(job), name_of(place.token, job)
    total, counts, when = job.trials, now["counts"], now["estimate"] or {}
    done = sum(counts.get(state, 0) for state in ("done", "failed", "stopped"))
    asked = {"pause": "pausing", "cancel": "cancelling"}.get(job.stop_requested, "")
    files = [
        html.A("Report", href=place.href("download", name, "report"), className="button", download=""),
        html.A("Trials as CSV", href=place.href("download", name, "trials.csv"), className="button", download=""),
    ]
    head = html.Div(
        [
            html.Div([html.H1(name), pill(now["state"], asked)], className="title"),
            html.Div([*(files if done else []), buttons(place, job, can_delete=True)], className="actions"),
        ],
        className="head",
    )
    left, starts = duration(when.get("ends_in_s")), duration(when.get("starts_in_s"))
    others = ", ".join(f"{number:,} {state}" for state, number in counts.items() if state != "done")
    known = known_metrics()
    shown = cards(
        card("Trials", f"{done:,} / {total:,}", [progress_bar(done, total, "progress"), others or None]),
        card("Place in the queue", f"{now['position']}", f"starts in {starts}" if starts else None)
        if now["position"]
        else None,
        card("Time left", f"about {left}", when.get("basis")) if left else None,
        *(card(f"Best {metric}", known[metric].format(value)) for metric, value in now["best"].items()),
    )
    return [head, problem(job.error) if job.error and job.state in RESTING else html.Span(), shown]
