"""Tokens, for administrators: who may ask, new ones that are shown once, and those to revoke."""

from typing import Any

from dash import ALL, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component

from paredown.search.service.pages.changes import changed, need
from paredown.search.service.pages.dash_server import asker
from paredown.search.service.pages.elements import dropdown_label, moment, panel, pill, problem, table
from paredown.search.service.pages.place import Place
from paredown.search.service.pages.snapshot import Snapshots
from paredown.search.service.service import Service
from paredown.spaces.errors import ParedownError
from paredown.studies.access.tokens import SCOPES, Token

MEANINGS = {
    "read": "looks at the owner's studies",
    "submit": "also starts and changes them",
    "admin": "reaches the studies of all owners, and tokens",
}
LIFETIMES = {"12 hours": 12, "30 days": 720, "a year": 8760, "no end": 0}


def layout(place: Place, snapshots: Snapshots) -> list[Component]:
    """Return the page."""
    need(place.token, "admin")
    meanings = "; ".join(f"{scope} {MEANINGS[scope]}" for scope in SCOPES)
    lifetimes = [{"label": name, "value": hours} for name, hours in LIFETIMES.items()]
    form = html.Div(
        [
            html.Div(
                [
                    html.Label("What it is for", htmlFor="token-name"),
                    dcc.Input(id="token-name", type="text", maxLength=100, value="", placeholder="laptop"),
                ]
            ),
            html.Div(
                [
                    html.Label("Owner", htmlFor="token-owner"),
                    dcc.Input(id="token-owner", type="text", maxLength=32, value="", placeholder="alice"),
                ]
            ),
            html.Div(
                [
                    dropdown_label("Scope", "token-scope"),
                    dcc.Dropdown([*SCOPES], "submit", id="token-scope", clearable=False),
                ]
            ),
            html.Div(
                [
                    dropdown_label("Ends after", "token-hours"),
                    dcc.Dropdown(lifetimes, 720, id="token-hours", clearable=False),
                ]
            ),
            html.Div(html.Button("Create", id="token-create", className="primary"), className="bottom"),
        ],
        className="fields",
    )
    return [
        html.Div(html.H1("Tokens"), className="head"),
        panel("New token", form, html.Div(id="token-new", role="status"), note=f"{meanings.capitalize()}."),
        html.Div(_tokens(place), id="tokens"),
    ]


def add_callbacks(dash: Dash, service: Service, snapshots: Snapshots) -> None:
    """Add what makes and revokes tokens."""

    @dash.callback(
        Output("token-new", "children"),
        Output("tokens", "children"),
        Input("token-create", "n_clicks"),
        Input({"revoke": ALL}, "n_clicks"),
        State("token-name", "value"),
        State("token-owner", "value"),
        State("token-scope", "value"),
        State("token-hours", "value"),
        prevent_initial_call=True,
    )
    def change(clicks: int | None, revokes: list[int | None], name: str, owner: str, scope: str, hours: float) -> Any:
        place = Place(service, asker(), ("tokens",))
        need(place.token, "admin")
        asked = ctx.triggered_id
        try:
            if asked == "token-create" and clicks:
                lifetime_s = float(hours) * 3600 if hours else None
                made = changed(
                    service,
                    "admin",
                    "POST",
                    "/tokens",
                    lambda: service.tokens.create(
                        (name or "").strip() or "unnamed", (owner or "").strip(), [scope], lifetime_s
                    ),
                )
                return _made(made), _tokens(place)
            if isinstance(asked, dict) and any(revokes):
                key = str(asked["revoke"])
                changed(service, "admin", "DELETE", f"/tokens/{key}", lambda: service.tokens.revoke(key))
                return None, _tokens(place)
        except ParedownError as error:
            return problem(f"{error}."), no_update
        return no_update, no_update


def _made(token: str) -> Component:
    return html.Div(
        [
            html.P("Copy it now: it cannot be shown again."),
            html.Div(
                [html.Code(token, id="token-text"), dcc.Clipboard(target_id="token-text", title="copy the token")],
                className="once",
            ),
        ],
        className="done",
    )


def _tokens(place: Place) -> Component:
    found = place.service.tokens.list()[::-1]
    head = ["For", "Owner", "Scope", "State", "Key", "Created", "Ends", html.Span("Actions", className="sr")]
    rows = [_row(place, token) for token in sorted(found, key=lambda token: token.revoked_at is not None)]
    return table(head, rows, "Tokens", (1, 2, 3, 4))


def _row(place: Place, token: Token) -> list[Any]:
    is_own = token.key == place.token.key
    revoke = html.Button(
        ["Revoke", html.Span(f" {token.name}", className="sr")], id={"revoke": token.key}, className="danger"
    )
    state = (
        pill("cancelled", "revoked")
        if token.revoked_at is not None
        else pill("done", "this session" if is_own else "valid")
    )
    return [
        token.name,
        token.owner,
        ", ".join(token.scopes),
        state,
        html.Code(token.key),
        moment(token.created_at),
        moment(token.expires_at) or "no end",
        "" if token.revoked_at is not None or is_own else revoke,
    ]
