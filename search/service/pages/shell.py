"""The frame of all pages: navigation, the page that an address names, and what went wrong."""

import logging
from pathlib import Path
from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update, set_props
from dash.development.base_component import Component
from fastapi import FastAPI

from paredown.search.service.guard import DATABASE_GONE
from paredown.search.service.pages import pages
from paredown.search.service.pages.dash_server import add_index, asker, new_dash
from paredown.search.service.pages.downloads import add_downloads
from paredown.search.service.pages.elements import aria, link, problem
from paredown.search.service.pages.place import Place, address
from paredown.search.service.pages.sign_in import REFERRER, add_sign_in
from paredown.search.service.pages.snapshot import Snapshots
from paredown.search.service.service import Service
from paredown.spaces.errors import ParedownError
from paredown.studies.errors import StudyNotFound
from paredown.studies.reconnecting import DATABASE_ERRORS

PATHS = ["/", "/studies/{study}", "/studies/{study}/{part}", "/studies/{study}/trials/{trial}"]
PATHS += ["/new", "/queue", "/devices", "/tokens"]
INDEX = """<!doctype html>
<html lang="en">
<head>
{%metas%}
<title>{%title%}</title>
<link rel="icon" type="image/svg+xml" href="ROOT/assets/icon.svg">
{%css%}
</head>
<body>
<noscript><p class="problem">These pages need JavaScript; the API under /v1 has all of it, too.</p></noscript>
{%app_entry%}
<footer>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>
"""
POLICY = (
    "default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""What pages may load. Plotly, AG Grid and Dash's own parts write style elements without a nonce; scripts come from
this server or have one of the hashes."""
RENDERER = (
    "var renderer = new DashRenderer({layout_pre: null, layout_post: null, request_pre: null, request_post: null, "
    "callback_resolved: null, request_refresh_jwt: () => { location.reload(); return new Promise(() => {}); }});"
)
"""Dash's own start, with its hook for sessions that have ended: the page loads anew, and asks to sign in. The promise
stays open, since Dash would read the answer that it refused a second time, which is an error of the page."""
NAVIGATION = (("Studies", ()), ("New study", ("new",)), ("Queue", ("queue",)), ("Devices", ("devices",)))


def add_pages(application: FastAPI, service: Service) -> None:
    """Add the pages to the application."""
    root = service.settings.root_path
    add_sign_in(application, service)
    snapshots = Snapshots(service)
    add_downloads(application, service)
    dash = new_dash(
        application,
        name="paredown.search.service.pages",
        assets_folder=str(Path(__file__).parent / "assets"),
        assets_ignore=r".*\.svg",
        index_string=INDEX.replace("ROOT", root),
        requests_pathname_prefix=f"{root}/",
        routes_pathname_prefix="/",
        serve_locally=True,
        suppress_callback_exceptions=True,  # a page's parts exist while it is shown
        title="Paredown",
        update_title="",
        use_pages=False,
        on_error=_say,
        enable_mcp=False,
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
    )
    dash.layout, dash.renderer = _frame, RENDERER
    _add_routing(dash, service, snapshots)
    for page in pages.ALL:
        page.add_callbacks(dash, service, snapshots)
    dash._setup_server()  # type: ignore[no-untyped-call]
    policy = POLICY.format(hashes=" ".join(dash.csp_hashes()))
    add_index(application, dash, PATHS, {"content-security-policy": policy, **REFERRER})


def _frame() -> Component:
    only: Any = {"page": "children"}
    return html.Div(
        [
            dcc.Location(id="url", refresh="callback-nav"),
            html.A("Skip to the content", href="#page", className="skip"),
            html.Header(id="header"),
            html.Div(id="said", **aria(live="polite")),
            html.Main(
                dcc.Loading(html.Div(id="page"), delay_show=400, type="dot", target_components=only),
                id="main",
            ),
        ]
    )


def _add_routing(dash: Dash, service: Service, snapshots: Snapshots) -> None:
    @dash.callback(
        Output("page", "children"),
        Output("header", "children"),
        Output("said", "children", allow_duplicate=True),
        Input("url", "pathname"),
        State("url", "search"),
        prevent_initial_call="initial_duplicate",
    )
    def route(path: str, search: str) -> tuple[Any, Any, Any]:
        place = Place.of(service, asker(), path or "/", search or "")
        header = _header(place)
        try:
            page = pages.page_of(place)
            shown = _lost(place) if page is None else page.layout(place, snapshots)
        except StudyNotFound as error:
            shown = problem(f"{error}.", link("See all studies", place.href()))
        except ParedownError as error:
            shown = problem(str(error))
        return html.Div(shown, key=path), header, None


def _header(place: Place) -> list[Component]:
    token, here = place.token, place.parts[:1]
    entries = [*NAVIGATION, *([("Tokens", ("tokens",))] if token.allows("admin") else [])]
    current = () if here in ((), ("studies",)) else here
    links = [
        html.Li(link(text, place.href(*parts), className="here" if parts == current else "")) for text, parts in entries
    ]
    brand = [
        html.Img(src=f"{place.service.settings.root_path}/assets/icon.svg", alt="", width=26, height=26),
        "Paredown",
    ]
    return [
        link(brand, place.href(), className="brand"),
        html.Nav(html.Ul(links), **aria(label="Pages")),
        html.Form(
            [
                html.Span([token.owner, html.Small(", ".join(token.scopes))], className="who", title=token.name),
                html.Button("Sign out", type="submit", className="quiet"),
            ],
            action=address(place.service, "sign-out"),
            method="POST",
        ),
    ]


def _lost(place: Place) -> Component:
    return problem("There is no such page.", link("See all studies", place.href()))


def _say(error: Exception) -> Any:
    """Show why a callback gave no answer; what nobody foresaw goes to the log."""
    if isinstance(error, ParedownError):
        set_props("said", {"children": problem(str(error))})
    elif isinstance(error, DATABASE_ERRORS):
        set_props("said", {"children": problem(f"{DATABASE_GONE}; what is shown may be old.".capitalize())})
    else:
        set_props("said", {"children": problem("The server failed at this; its log says why.")})
        logging.getLogger(__name__).error("a callback of the pages failed", exc_info=error)
    return no_update
