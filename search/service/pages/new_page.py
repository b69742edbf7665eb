"""A new study: from an example or another study, with what keys mean and what is wrong beside the text."""

from pathlib import Path
from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from paredown.search.errors import ConfigError
from paredown.search.service.pages.changes import NotAllowed, changed
from paredown.search.service.pages.dash_server import asker
from paredown.search.service.pages.data_panel import FILE, data_choice, data_panel
from paredown.search.service.pages.elements import dropdown_label, link, panel, problem
from paredown.search.service.pages.place import Place, address, name_of
from paredown.search.service.pages.snapshot import Snapshots
from paredown.search.service.pages.study_keys import StudySchema, key_named, keys, line_of, meaning
from paredown.search.service.pages.study_text import study_text, top_level, with_key
from paredown.search.service.service import Service
from paredown.spaces.errors import ParedownError

EXAMPLES = {file.stem: file for file in sorted((Path(__file__).parent / "examples").glob("*.yaml"))}
FIRST = "digits"
MAX_EARLIER = 200
"""Maximum number of earlier studies that are offered, the latest first."""


def layout(place: Place, snapshots: Snapshots) -> list[Component]:
    """Return the page."""
    like = place.query.get("like")
    if like is None:
        text = EXAMPLES[FIRST].read_text()
    else:
        text = study_text(place.service, place.service.find(place.token, like))
    can_submit = place.token.allows("submit")
    refused = problem("This token only reads.", "Sign in with one of the scope submit to start studies.")
    names = [{"label": name.replace("_", " "), "value": name} for name in EXAMPLES]
    editor = panel(
        "Study file",
        html.Div(
            [
                html.Div(
                    [
                        dropdown_label("Start from", "example"),
                        dcc.Dropdown(names, None if like else FIRST, id="example"),
                    ]
                ),
                html.Div([html.Label("Priority", htmlFor="priority"), _number("priority", 0, -100, 100)]),
                html.Div([html.Label("Start after, hours", htmlFor="delay"), _number("delay", 0, 0, 720)]),
            ],
            className="fields",
        ),
        html.Div([data_choice(place), _warm_start(place, text)], className="fields"),
        html.Label("Text, in YAML", htmlFor="study-text"),
        dcc.Textarea(
            id="study-text",
            value=text,
            rows=26,
            spellCheck=False,
            persistence=f"{place.token.key} {like or ''}",  # a session that ends loads the page anew
            persistence_type="session",
        ),
        html.Div(id="study-problem", role="alert"),
        dcc.Loading(
            html.Button("Submit", id="submit", className="primary", disabled=not can_submit), delay_show=200, type="dot"
        ),
        note=[
            "It is checked as ",
            html.Code("paredown search"),
            " checks it, which takes seconds, and waits for a worker then.",
        ],
    )
    help_text = panel(
        "Keys",
        dcc.Loading(html.Div(html.P("Loading what the keys mean ...", className="note"), id="study-keys"), type="dot"),
        note="Open a key to read what it means.",
    )
    return [
        html.Div([html.H1("New study"), link("All studies", place.href())], className="head"),
        html.Div() if can_submit else refused,
        html.Div([editor, html.Div([data_panel(), help_text])], className="columns"),
    ]


def _warm_start(place: Place, text: str) -> Component | None:
    """Return the field that chooses earlier studies; None where there is none to learn from."""
    jobs = [job for job in place.service.jobs.all(place.token.owner) if job.started_at is not None]
    if not jobs:
        return None
    named = top_level(text).get("warm_start") or []
    offered = [job.study for job in jobs[::-1][:MAX_EARLIER]]
    field = dcc.Dropdown(
        offered, [one for one in named if one in offered], id="warm-start", multi=True, placeholder="nothing"
    )
    return html.Div([dropdown_label("Learn from earlier studies (warm start)", "warm-start"), field])


def _number(name: str, value: int, low: int, high: int) -> Component:
    return dcc.Input(id=name, type="number", value=value, min=low, max=high, debounce=True)


def add_callbacks(dash: Dash, service: Service, snapshots: Snapshots) -> None:
    """Add what fills the text, explains keys, and submits."""
    schema = StudySchema(service)

    @dash.callback(Output("study-text", "value"), Input("example", "value"), prevent_initial_call=True)
    def fill(name: str | None) -> Any:
        return EXAMPLES[name].read_text() if name in EXAMPLES else no_update

    @dash.callback(
        Output("study-text", "value", allow_duplicate=True),
        Output("study-problem", "children", allow_duplicate=True),
        Input("warm-start", "value"),
        State("study-text", "value"),
        prevent_initial_call=True,
    )
    def learn_from(names: list[str] | None, text: str | None) -> tuple[Any, Any]:
        try:
            return with_key(text or "", "warm_start", names or []), None
        except ConfigError as error:
            return no_update, problem(f"{error}.", "Mend it first; earlier studies are written into it.")

    @dash.callback(Output("study-keys", "children"), Input("study-keys", "id"))
    def explain(place: str) -> list[Component]:
        return keys(schema.read())

    @dash.callback(
        Output("study-problem", "children"),
        Output("url", "href", allow_duplicate=True),
        Output("study-text", "value", allow_duplicate=True),
        Input("submit", "n_clicks"),
        State("study-text", "value"),
        State("priority", "value"),
        State("delay", "value"),
        prevent_initial_call=True,
        running=[(Output("submit", "disabled"), True, False)],
    )
    def submit(clicks: int | None, text: str | None, priority: int | None, hours: float | None) -> tuple[Any, ...]:
        if not clicks:
            raise PreventUpdate
        options: dict[str, Any] = {
            "priority": max(-100, min(100, int(priority or 0))),
            "delay_s": max(0.0, min(720.0, hours or 0.0)) * 3600,
        }
        try:
            job, _ = changed(
                service, "submit", "POST", "/v1/studies", lambda: service.submit(asker(), text or "", FILE, **options)
            )
        except NotAllowed:
            raise
        except ParedownError as error:
            return _refusal(str(error), text or "", schema), no_update, no_update
        # What the browser has kept of the text goes with it.
        return None, address(service, "studies", name_of(asker(), job)), EXAMPLES[FIRST].read_text()


def _refusal(message: str, text: str, schema: StudySchema) -> Component:
    """Return a message with the line that it is about and, once the schema is read, what the key means."""
    key = key_named(message)
    line = line_of(text, key) if key else None
    said = f"Line {line}: {message}" if line is not None else message
    return problem(said, meaning(schema.known, message) if key else None)
