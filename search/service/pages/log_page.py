"""The log of a study, as it grows."""

from pathlib import Path

from dash import Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component

from paredown.search.monitoring.search_log import LOG_FILE
from paredown.search.service.pages.dash_server import asker
from paredown.search.service.pages.elements import nothing, panel
from paredown.search.service.pages.place import Place
from paredown.search.service.pages.snapshot import Snapshots
from paredown.search.service.pages.study_frame import EVERY_MS, study_head
from paredown.search.service.service import Service
from paredown.search.service.worker import OUTPUT_FILE
from paredown.studies.queue.job import Job

MAX_BYTES = 40_000
"""Number of bytes of a log that are shown, the last ones."""


def layout(place: Place, snapshots: Snapshots) -> list[Component]:
    """Return the page."""
    job = place.job()
    return [
        *study_head(place, job, "log"),
        html.Div(_logs(job), id="logs"),
        dcc.Interval(id="log-tick", interval=EVERY_MS),
    ]


def _logs(job: Job) -> list[Component]:
    shown = [
        panel(title, html.Pre("\n".join(lines[::order]), className="log", tabIndex=0))
        for title, file, order in (
            ("Events, the latest first", LOG_FILE, -1),
            ("What its process printed", OUTPUT_FILE, 1),
        )
        if (lines := _end_of(Path(job.folder, file)))
    ]
    return shown or [nothing("No log yet", f"The study is {job.state}; its log begins when it runs.")]


def _end_of(file: Path) -> list[str]:
    if not file.is_file():
        return []
    with file.open("rb") as opened:
        size = opened.seek(0, 2)
        opened.seek(max(0, size - MAX_BYTES))
        text = opened.read().decode(errors="replace")
    return (text.partition("\n")[2] if size > MAX_BYTES else text).splitlines()


def add_callbacks(dash: Dash, service: Service, snapshots: Snapshots) -> None:
    """Add what brings new lines."""

    @dash.callback(
        Output("logs", "children"),
        Input("log-tick", "n_intervals"),
        State("study-name", "data"),
        prevent_initial_call=True,
    )
    def refresh(ticks: int, name: str) -> list[Component]:
        return _logs(service.find(asker(), name))
