"""Dash on the FastAPI application: what its own connection to FastAPI does otherwise than this service needs.

Dash runs callbacks where the requests of all others wait, answers every unknown path with its page, and opens a
WebSocket. Here a callback runs in a thread, unknown paths have the status 404, and there is no WebSocket.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any

from anyio.to_thread import run_sync
from dash import Dash
from dash.backends._fastapi import FastAPIDashServer, reset_current_request, set_current_request
from dash.exceptions import DependencyException, InvalidResourceError
from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler
from starlette.exceptions import HTTPException

from paredown.search.service.guard import is_page
from paredown.studies.access.tokens import Token

ASKER: ContextVar[tuple[Token, str]] = ContextVar("asker")
"""Token and address of whoever asks, while a callback runs."""
UNKNOWN_PATH = HTTPStatus.NOT_FOUND.phrase
"""What FastAPI says of a path that no route has."""


class PagesServer(FastAPIDashServer):
    """FastAPI as Dash uses it for the pages."""

    websocket_capability = False

    def serve_callback(self, dash_app: Dash) -> Callable[[Request], Awaitable[Response]]:
        """Return the route of the callbacks; each runs in a thread, with its asker in `ASKER`."""
        dispatch = super().serve_callback(dash_app)

        async def dispatch_in_thread(request: Request) -> Response:
            # Dash has read the body before, which comes once.
            if not _is_callback(getattr(request.state, "json_body", None)):
                return Response("no request of a page", 400)
            ASKER.set((request.state.token, "" if request.client is None else request.client.host))
            response: Response = await run_sync(lambda: asyncio.run(dispatch(request)))
            return response

        return dispatch_in_thread

    def serve_component_suites(
        self, dash_app: Dash, package_name: str, fingerprinted_path: str, request: Request
    ) -> Any:
        """Return a script of Dash; others than those that pages name do not exist."""
        try:
            return super().serve_component_suites(dash_app, package_name, fingerprinted_path, request)
        except (DependencyException, InvalidResourceError):
            return Response("no such script", 404)

    def setup_index(self, dash_app: Dash) -> None:
        """Leave the paths of the pages to `add_index`."""

    def _setup_catchall(self) -> None:
        """Leave unknown paths to FastAPI, which says so."""


def _is_callback(asked: object) -> bool:
    """Return whether a request names what it asks for, as Dash's scripts do."""
    return isinstance(asked, dict) and {"output", "outputs", "inputs"} <= asked.keys()


def asker() -> Token:
    """Return the token of whoever a callback answers."""
    return ASKER.get()[0]


def asker_address() -> str:
    """Return the address of whoever a callback answers."""
    return ASKER.get()[1]


def new_dash(application: FastAPI, **options: Any) -> Dash:
    """Return Dash on an application."""
    dash = Dash(server=False, backend=PagesServer, **options)
    dash.init_app(application)
    return dash


def add_index(application: FastAPI, dash: Dash, paths: list[str], headers: dict[str, str]) -> None:
    """Answer paths with the page that Dash fills, and so browsers that ask for a page that does not exist.

    Args:
        application: FastAPI.
        dash: Dash.
        paths: Paths as FastAPI writes them.
        headers: Headers of the answer.
    """

    async def index(request: Request) -> Response:
        current = set_current_request(request)  # type: ignore[no-untyped-call]
        try:
            page = dash.index()  # type: ignore[no-untyped-call]
        finally:
            reset_current_request(current)  # type: ignore[no-untyped-call]
        return Response(page, media_type="text/html", headers=headers)

    async def lost(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        is_signed_in = getattr(request.state, "token", None) is not None  # files of the form to sign in need no token
        if error.detail != UNKNOWN_PATH or not is_signed_in or not is_page(request.scope, request.headers):
            return await http_exception_handler(request, error)
        answer = await index(request)
        answer.status_code = 404
        return answer

    for path in paths:
        application.add_api_route(path, index, methods=["GET"], include_in_schema=False)
    application.add_exception_handler(404, lost)
