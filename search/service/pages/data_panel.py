"""A look at the data of a new study before it is submitted: classes with their counts, the shape, and some images."""

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from dash import Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from paredown.search.errors import ConfigError
from paredown.search.service.dataset_places import PREFIX
from paredown.search.service.datasets import DatasetNotFound
from paredown.search.service.pages.changes import need
from paredown.search.service.pages.dash_server import asker
from paredown.search.service.pages.elements import dropdown_label, panel, problem, table
from paredown.search.service.pages.place import Place, address
from paredown.search.service.pages.snapshot import Snapshots
from paredown.search.service.pages.study_text import dataset_named, kind_of, top_level, with_key
from paredown.search.service.service import Service
from paredown.spaces.errors import ParedownError
from paredown.studies.access.tokens import Token

BUILT_IN = ("digits",)
"""Tasks whose data comes with the package: a look at it is free, and holds as long as the server lives."""
EVERY_MS = 3000
MAX_ROWS = 100
"""Maximum number of classes in the table."""
MAX_PICTURED = 12
"""Maximum number of classes of which images are shown."""
AT_ONCE = threading.BoundedSemaphore(2)
"""Looks at data that is read for them, at the same time; others wait."""
FILE = "study file"
"""How messages name the text, as the API's do."""


def data_choice(place: Place) -> Component:
    """Return the field that chooses an uploaded data set, which is hidden as long as there is none."""
    names = _own(place.service, place.token)
    field = dcc.Dropdown(names, None, id="data-set", placeholder="as the text says")
    tick = dcc.Interval(id="data-tick", interval=EVERY_MS)
    return html.Div([dropdown_label("Data set of yours", "data-set"), field, tick], id="data-choice", hidden=not names)


def _own(service: Service, token: Token) -> list[str]:
    """Return the names of the uploaded data sets of whoever looks."""
    return [one["dataset"] for one in service.datasets.all(token) if one["owner"] == token.owner]


def data_panel() -> Component:
    """Return the place of the look, which is filled when the page is there."""
    waiting = html.P("Looking at the data ...", className="note")
    return panel(
        "Data",
        dcc.Loading(html.Div(waiting, id="data-look", role="status"), delay_show=400, type="dot"),
        html.Button("Look at the data", id="data-ask", hidden=True),
        html.Details([html.Summary("Upload images of yours"), html.Div(id="data-upload", className="key")]),
        dcc.Store(id="data-shown"),
        note="What the task of the text learns from.",
    )


def add_callbacks(dash: Dash, service: Service, snapshots: Snapshots) -> None:
    """Add what looks at the data of the text, chooses a data set, and says how one is uploaded."""
    looks = Looks(service)

    @dash.callback(
        Output("data-look", "children"),
        Output("data-ask", "hidden"),
        Output("data-shown", "data"),
        Input("study-text", "value"),
        Input("data-ask", "n_clicks"),
        Input("data-set", "options"),
        State("data-shown", "data"),
        running=[(Output("data-ask", "disabled"), True, False)],
    )
    def look(text: str | None, clicks: int | None, names: list[str], shown: str | None) -> tuple[Any, bool, str]:
        is_asked = ctx.triggered_id == "data-ask"
        try:
            task = top_level(text or "").get("task")
        except ConfigError as error:
            if not is_asked and shown is not None:  # a text that is being written
                raise PreventUpdate from None
            return problem(str(error)), True, ""
        now = json.dumps([task, dataset_named(task) in names], default=str)
        if now == shown and not is_asked:
            raise PreventUpdate
        content, can_ask = looks.shown(asker(), task, is_asked=is_asked)
        return content, not can_ask, now

    @dash.callback(
        Output("data-set", "options"),
        Output("data-choice", "hidden"),
        Input("data-tick", "n_intervals"),
        State("data-set", "options"),
        prevent_initial_call=True,
    )
    def refresh(ticks: int, shown: list[str]) -> tuple[list[str], bool]:
        names = _own(service, asker())
        if names == shown:
            raise PreventUpdate
        return names, not names

    @dash.callback(
        Output("study-text", "value", allow_duplicate=True),
        Input("data-set", "value"),
        State("study-text", "value"),
        prevent_initial_call=True,
    )
    def choose(name: str | None, text: str | None) -> Any:
        return no_update if name is None else with_key(text or "", "task", {"image_folder": {"path": PREFIX + name}})

    @dash.callback(Output("data-upload", "children"), Input("url", "href"))
    def explain(href: str | None) -> list[Component]:
        split = urlsplit(href or "")
        return upload_help(f"{split.scheme}://{split.netloc}{service.settings.root_path}")


class Looks:
    """What the page says of the data of tasks.

    Args:
        service: The service.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._known: dict[str, dict[str, Any]] = {}
        self._reading = threading.Lock()

    def shown(self, token: Token, task: object, *, is_asked: bool) -> tuple[list[Any], bool]:
        """Return what a page shows of the data of a task, and whether a click would tell more.

        Args:
            token: Token of whoever looks.
            task: The task, as a study file names it.
            is_asked: Whether he asked for it, which data that must be read first takes.
        """
        kind, dataset = kind_of(task), dataset_named(task)
        try:
            if dataset is not None:
                return self._dataset(token, dataset), False
            if kind in BUILT_IN:
                return described(self._built_in(token, task)), False
            if not kind:
                return [html.P("The text names no task yet: task: digits, for one.", className="note")], False
            if is_asked:
                need(token, "submit")
                with AT_ONCE:
                    return described(self._service.describe_task(token.owner, task, FILE)), True
        except ParedownError as error:
            return [problem(str(error))], is_asked
        can_ask = token.allows("submit")
        said = "which may take minutes" if can_ask else "which takes a token with the scope submit"
        return [html.P(f"The data must be read first, {said}.", className="note")], can_ask

    def _dataset(self, token: Token, name: str) -> list[Any]:
        try:
            document = self._service.datasets.find(token, name)
        except DatasetNotFound as error:
            own = ", ".join(_own(self._service, token))
            raise ConfigError(f"{error}; yours: {own or 'none; upload one first'}") from None
        numbers = {one: range(document["thumbnails"].get(one, 0)) for one in document["classes"][:MAX_PICTURED]}
        sources = {
            one: [address(self._service, "thumbnail", name, **{"class": one, "number": at}) for at in found]
            for one, found in numbers.items()
        }
        return described({**document, "pictures": sources})

    def _built_in(self, token: Token, task: object) -> dict[str, Any]:
        key = json.dumps(task, sort_keys=True, default=str)
        with self._reading:
            if key not in self._known:
                if len(self._known) > 16:  # each seed is another task
                    self._known.clear()
                self._known[key] = self._service.describe_task(token.owner, task, FILE)
            return self._known[key]


def described(found: Mapping[str, Any]) -> list[Any]:
    """Return what a description of data says, in words, a table and images."""
    classes, counts = list(found["classes"]), found["counts"]
    totals = ", ".join(f"{sum(own.values()):,} {split}" for split, own in counts.items())
    channels, height, width = found["shape"]
    facts = [("Images", totals), ("Classes", f"{len(classes):,}"), ("One image", f"{channels} x {height} x {width}")]
    facts += [("Values", found["values"])]
    rows = [[name, *(f"{counts[split].get(name, 0):,}" for split in counts)] for name in classes[:MAX_ROWS]]
    more = f"The first {MAX_ROWS} of {len(classes):,} classes." if len(classes) > MAX_ROWS else ""
    return [
        html.Dl([part for term, said in facts for part in (html.Dt(term), html.Dd(said))], className="list"),
        *_remarks(found),
        _pictures(found["pictures"], len(classes)),
        html.Div(table(["Class", *counts], rows, "Images of each class"), className="short"),
        html.P(more, className="note") if more else None,
    ]


def _remarks(found: Mapping[str, Any]) -> list[Component]:
    lines = [f"{len(files):,} files are not used: {reason}." for reason, files in found["unused"].items()]
    lines += [f"{len(names):,} of {split} are in train, too." for split, names in found["duplicates"].items()]
    lines += [f"{note[:1].upper()}{note[1:].rstrip('.')}." for note in found["notes"]]
    return [html.Ul([html.Li(line) for line in lines], className="remarks")] if lines else []


def _pictures(sources: Mapping[str, Sequence[str]], classes: int) -> Component:
    shown = [
        html.Figure(
            [
                html.Div([html.Img(src=one, alt=f"an image of class {name}") for one in found]),
                html.Figcaption(name),
            ]
        )
        for name, found in sources.items()
    ]
    note = f"Images of the first {len(shown)} classes." if classes > len(shown) else None
    return html.Div([html.Div(shown, className="pictures"), html.P(note, className="note") if note else None])


def upload_help(server: str) -> list[Component]:
    """Return how images become a data set of the server at an address."""
    curl = (
        "cd photos && zip -0 -r ../photos.zip .\n"
        f'curl -H "Authorization: Bearer $PAREDOWN_TOKEN" -T ../photos.zip {server}/v1/datasets/flowers'
    )
    python = f'paredown.Client("{server}", token).upload("flowers", "photos")'
    return [
        html.P(
            [
                "A terminal sends them, since a page would hold all of them in memory. The folder holds ",
                html.Code("train/CLASS/"),
                ", ",
                html.Code("val/CLASS/"),
                " and perhaps ",
                html.Code("test/CLASS/"),
                " with images; the token needs the scope submit.",
            ]
        ),
        html.Pre(curl, tabIndex=0),
        html.P("The same from Python:"),
        html.Pre(python, tabIndex=0),
        html.P("Seconds after that, it can be chosen as a data set of yours."),
    ]
