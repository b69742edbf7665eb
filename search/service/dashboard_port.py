"""Optuna's dashboard at a port of its own, behind the guard of the service.

It has neither users nor passwords, shows the studies of all owners and works at `/` alone. So it runs in a process of
its own that no other user of this machine reaches, at a Unix socket in a private folder; what the guard let in at the
dashboard's port is handed on to it, for tokens with the scope admin, and only to look.
"""

import http.client
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from anyio.to_thread import run_sync
from starlette.responses import JSONResponse

from paredown.search.service.guard import READING, Application, Receive, Scope, Send
from paredown.studies.access.tokens import Token

SERVICE = ("/health", "/sign-in", "/sign-out", "/assets/")
"""What the service itself answers at the dashboard's port: it signs people in there, too."""
HANDED_ON = ("accept", "accept-encoding", "accept-language", "if-modified-since", "if-none-match")
"""Headers of a request that the dashboard gets; it has no business with tokens and cookies."""
HOP_BY_HOP = ("connection", "keep-alive", "server", "transfer-encoding", "date")
PART_BYTES = 1 << 16
ANSWER_S = 300.0
"""Seconds after which the dashboard is taken not to answer."""


class DashboardPort:
    """Answers at one port with the dashboard, and at all others with the service.

    Args:
        service: The service.
        port: Port of the dashboard.
        place: Its Unix socket.
    """

    def __init__(self, service: Application, port: int, place: Path) -> None:
        self._service, self._port, self._place = service, port, place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that the guard has let in."""
        is_dashboard = scope["type"] == "http" and (scope.get("server") or ("", 0))[1] == self._port
        if not is_dashboard or scope["path"].startswith(SERVICE):
            await self._service(scope, receive, send)
            return
        token: Token = scope["state"]["token"]
        if not token.allows("admin"):
            why = f"this token allows {', '.join(token.scopes)}; Optuna's dashboard shows the studies of all: admin"
            await JSONResponse({"detail": why}, 403)(scope, receive, send)
            return
        if scope["method"] not in READING:
            why = "studies are changed by the API and by the commands of paredown alone"
            await JSONResponse({"detail": why}, 403)(scope, receive, send)
            return
        connection = _Connection(self._place)
        try:
            answer = await run_sync(connection.ask, scope)
        except (OSError, http.client.HTTPException):
            why = "Optuna's dashboard does not answer; it may be starting: try again in some seconds"
            await JSONResponse({"detail": why}, 503)(scope, receive, send)
        else:
            await _pass_on(answer, send)
        finally:
            connection.close()


async def _pass_on(answer: http.client.HTTPResponse, send: Send) -> None:
    headers = [(k.lower().encode(), v.encode("latin-1")) for k, v in answer.getheaders()]
    headers = [one for one in headers if one[0].decode() not in HOP_BY_HOP]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    while part := await run_sync(answer.read, PART_BYTES):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


class _Connection(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, place: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_S)
        self._place = place

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_S)
        self.sock.connect(str(self._place))

    def ask(self, scope: Scope) -> http.client.HTTPResponse:
        """Send a request, and return the answer, of which the body is not read yet."""
        given: Sequence[tuple[bytes, bytes]] = scope["headers"]
        headers = {name.decode(): value.decode("latin-1") for name, value in given if name.decode() in HANDED_ON}
        query = scope["query_string"].decode("latin-1")
        self.request(scope["method"], quote(scope["path"]) + (f"?{query}" if query else ""), headers=headers)
        return self.getresponse()
