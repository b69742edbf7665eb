"""What else a study can be asked for: more trials, its failed trials again, and a candidate of one's own."""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from paredown.search.errors import ConfigError
from paredown.search.service.pages.candidate_text import in_words, knob_lines, read_knobs
from paredown.search.service.pages.changes import changed
from paredown.search.service.pages.dash_server import asker
from paredown.search.service.pages.elements import Content, link, panel, problem
from paredown.search.service.pages.place import Place, address
from paredown.search.service.pages.snapshot import Snapshots
from paredown.search.service.pages.study_frame import study_head
from paredown.search.service.service import RESTING, Service
from paredown.search.service.settings import MAX_TRIALS
from paredown.spaces.candidate import Candidate
from paredown.spaces.errors import ParedownError
from paredown.studies.queue.job import Job
from paredown.studies.reading import StudyReader

MAX_KNOBS = 200
"""Maximum number of knobs that a candidate may name, as in the API."""
SIGN_IN = "Sign in with one of the scope submit to change studies."


def layout(place: Place, snapshots: Snapshots) -> list[Component]:
    """Return the page."""
    job = place.job()
    head = study_head(place, job, "change")
    if not place.token.allows("submit"):
        return [*head, problem("This token only reads.", SIGN_IN)]
    reader = place.service.reader(job)
    return [
        *head,
        html.Div([_extension(job), _retry(reader)], className="halves"),
        _candidate(place, reader),
    ]


def _extension(job: Job) -> Component:
    number = dcc.Input(
        id="extend-trials", type="number", value=min(2 * job.trials, MAX_TRIALS), min=1, max=MAX_TRIALS, step=1
    )
    return panel(
        "More trials",
        html.Div(
            [
                html.Div([html.Label("Number of trials in all", htmlFor="extend-trials"), number], className="narrow"),
                html.Div(html.Button("Extend", id="extend", className="primary"), className="bottom"),
            ],
            className="fields",
        ),
        _place("extend-said"),
        note=f"It is to have {job.trials:,}. A study that rests goes on with what its sampler has learned.",
    )


def _retry(reader: StudyReader | None) -> Component:
    options, note, is_hidden = _failed(reader)
    ticks = dcc.Checklist(options, [], id="retry-causes", className="ticks")
    return panel(
        "Failed trials again",
        html.P(note, id="retry-note", className="note"),
        html.Div(
            [html.Fieldset([html.Legend("Causes", className="label"), ticks]), html.Button("Retry", id="retry")],
            id="retry-form",
            hidden=is_hidden,
        ),
        _place("retry-said"),
    )


def _failed(reader: StudyReader | None) -> tuple[list[dict[str, str]], str, bool]:
    """Return the causes of failures to tick, what stands above them, and whether there are none."""
    causes = {} if reader is None else reader.failures()
    if not causes:
        return [], "No trial has failed.", True
    options = [{"label": f"{cause} ({number:,})", "value": cause} for cause, number in causes.items() if cause]
    note = f"{sum(causes.values()):,} failed. Each runs again under a new number; with no cause ticked, all of them."
    return options, note, False


def _candidate(place: Place, reader: StudyReader | None) -> Component:
    if reader is None:
        return panel(
            "A candidate of yours", html.P("It can be put in line when the study has begun.", className="note")
        )
    like = place.query.get("like", "")
    row = reader.trial(min(int(like), 2**31 - 1)) if like.isdecimal() else None
    knobs = "" if row is None else knob_lines(Candidate.from_json(row["candidate"]))
    number = dcc.Input(
        id="enqueue-like",
        type="number",
        value=None if row is None else row["trial"],
        min=0,
        step=1,
        placeholder="baseline",
    )
    return panel(
        "A candidate of yours",
        html.Div(
            html.Div([html.Label("Like trial", htmlFor="enqueue-like"), number], className="narrow"), className="fields"
        ),
        html.Label("Knobs, a line each: KNOB=VALUE", htmlFor="enqueue-knobs"),
        dcc.Textarea(
            id="enqueue-knobs",
            value=knobs,
            rows=max(6, min(24, knobs.count("\n") + 2)),
            spellCheck=False,
            placeholder="mbconv.width=0.5\nquantization.weights=int8",
            className="code",
        ),
        html.Button("Put first in line", id="enqueue", className="primary"),
        _place("enqueue-said"),
        note="It runs before what the sampler proposes. Knobs that no line names are those of the trial, or of the "
        "baseline. The check takes seconds and says what is allowed.",
    )


def _place(name: str) -> Component:
    """Return where a form says what came of it."""
    said = html.Div(id=name, className="under", role="status")
    return dcc.Loading(said, delay_show=200, type="dot")


def add_callbacks(dash: Dash, service: Service, snapshots: Snapshots) -> None:
    """Add what the forms do, and what keeps the failures up to date."""
    _add_form(dash, service, "extend", extend, "extend-trials")
    _add_form(dash, service, "retry", retry, "retry-causes")
    _add_form(dash, service, "enqueue", enqueue, "enqueue-knobs", "enqueue-like")

    @dash.callback(
        Output("retry-causes", "options"),
        Output("retry-note", "children"),
        Output("retry-form", "hidden"),
        Output("retry-causes", "value"),
        Input("study-tick", "n_intervals"),
        State("retry-causes", "options"),
        State("retry-note", "children"),
        State("retry-causes", "value"),
        State("study-name", "data"),
        prevent_initial_call=True,
    )
    def look(ticks: int, shown: list[Any], note: str, ticked: list[str] | None, name: str) -> tuple[Any, ...]:
        now = _failed(service.reader(service.find(asker(), name)))
        if now[:2] == (shown, note):
            raise PreventUpdate
        return *now, [one["value"] for one in now[0] if one["value"] in (ticked or ())]


def _add_form(dash: Dash, service: Service, name: str, change: Callable[..., Content], *fields: str) -> None:
    """Add what the button of a form does, which says below it what came of it.

    Args:
        dash: Dash.
        service: The service.
        name: Id of the button.
        change: Takes the service, the name of the study and the values of the fields, and returns what to say.
        fields: Ids of the fields.
    """

    @dash.callback(
        Output(f"{name}-said", "children"),
        Input(name, "n_clicks"),
        State("study-name", "data"),
        *(State(field, "value") for field in fields),
        prevent_initial_call=True,
        running=[(Output(name, "disabled"), True, False)],
    )
    def press(clicks: int | None, study: str, *values: Any) -> Any:
        if not clicks:
            return no_update
        try:
            return html.P(change(service, study, *values), className="done")
        except ParedownError as error:
            return problem(str(error))


def extend(service: Service, name: str, trials: object) -> Content:
    """Let a study of whoever asks go on to a larger number of trials, and return what to say.

    Raises:
        ParedownError: It is not allowed, or not possible.
    """

    def change() -> int:
        job = service.find(asker(), name)
        if not isinstance(trials, int) or not job.trials < trials <= MAX_TRIALS:
            given = "nothing" if trials is None else repr(trials)
            allowed = f"allowed: a whole number from {job.trials + 1:,} to {MAX_TRIALS:,}"
            raise ConfigError(f"number of trials: {given} is not allowed; {allowed}")
        return service.extend(job, trials).trials

    total = changed(service, "submit", "POST", _path(name, "extend"), change)
    return f"{name} is in the queue again, and goes on to {total:,} trials."


def retry(service: Service, name: str, causes: Sequence[str] | None) -> Content:
    """Run failed trials of a study of whoever asks again, and return what to say.

    Args:
        service: The service.
        name: Name of the study.
        causes: Causes of the failures; all where there are none.

    Raises:
        ParedownError: It is not allowed, or not possible.
    """
    given = tuple(map(str, causes or ()))

    def change() -> Job:
        return service.retry(service.find(asker(), name), given)

    changed(service, "submit", "POST", _path(name, "retry"), change)
    which = f"with the cause {' or '.join(given)} " if given else ""
    return f"{name} is in the queue again; its failed trials {which}come first."


def enqueue(service: Service, name: str, knobs: str | None, like: object) -> Content:
    """Put a candidate first in line in a study of whoever asks, and return what to say.

    Args:
        service: The service.
        name: Name of the study.
        knobs: Lines of `KNOB=VALUE`.
        like: Number of the trial whose knobs hold where none is named; None for the baseline.

    Raises:
        ParedownError: It is not allowed, or not possible.
    """

    def change() -> tuple[dict[str, Any], Job]:
        job, named = service.find(asker(), name), read_knobs(knobs or "")
        if like is not None and (not isinstance(like, int) or like < 0):
            raise ConfigError(f"like trial: {like!r} is not allowed; allowed: the number of a trial, or nothing")
        if len(named) > MAX_KNOBS:
            raise ConfigError(f"{len(named)} knobs are named; allowed: {MAX_KNOBS}")
        if not named and like is None:
            raise ConfigError("name a knob, or the number of a trial: the baseline has run")
        return service.enqueue(job, named, like), job

    placed, job = changed(service, "submit", "POST", _path(name, "enqueue"), change)
    trial, state = f"trial {placed['trial']}", placed["state"]
    if state == "in line":
        return f"Nothing to do: it is in line already, as {trial}."
    if state != "queued":
        known = link(trial, address(service, "studies", name, "trials", placed["trial"]))
        return ["Nothing to do: this is ", known, f", which is {state}."]
    how = "extend" if job.state == "done" else "resume"
    then = f"The study rests: {how} it, and this runs first." if job.state in RESTING else "It runs next."
    return f"In line as {trial}: {in_words(placed['candidate'])}. {then}"


def _path(name: str, what: str) -> str:
    return f"/v1/studies/{quote(name)}/{what}"
