"""The study file of a study, as it was checked."""

from urllib.parse import urlencode

from dash import Dash, html
from dash.development.base_component import Component

from paredown.search.service.pages.elements import link, panel
from paredown.search.service.pages.place import Place
from paredown.search.service.pages.snapshot import Snapshots
from paredown.search.service.pages.study_frame import study_head
from paredown.search.service.pages.study_text import study_text
from paredown.search.service.service import Service


def layout(place: Place, snapshots: Snapshots) -> list[Component]:
    """Return the page."""
    job = place.job()
    text = study_text(place.service, job)
    again = f"{place.href('new')}?{urlencode({'like': place.name_of(job)})}"
    return [
        *study_head(place, job, "file"),
        panel("Study file", html.Pre(text, tabIndex=0), link("New study from this one", again, className="button")),
    ]


def add_callbacks(dash: Dash, service: Service, snapshots: Snapshots) -> None:
    """Add nothing: the file does not change."""
