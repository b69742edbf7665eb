"""The guard before the service: who may ask at all, how much and how often; it also keeps the audit log.

No path is reached without a token but the one that says whether the server lives, the form to sign in and the styles
of the pages. The API takes tokens alone; the pages also take the cookie of a session, which stands for a token.

A page on the web that someone opens in a browser on this machine cannot ask either: it cannot know a token, browsers
keep the cookie from it (SameSite=Strict), its requests name it as their origin, and after its own name was pointed here
(DNS rebinding) they carry that name as the host.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from ipaddress import ip_address
from typing import Any

from anyio import fail_after
from anyio.to_thread import run_sync

from paredown.search.service.rate_limit import RateLimit
from paredown.search.service.sessions import Sessions
from paredown.studies.access.audit import Audit
from paredown.studies.access.tokens import Token, Tokens
from paredown.studies.reconnecting import DATABASE_ERRORS

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

SIGN_IN = "/sign-in"
OPEN = ("/health", SIGN_IN)
"""Paths that are answered without a token."""
OPEN_FOLDER = "/assets/"
"""Path below which files are that hold nothing private: the styles of the pages."""
API = "/v1"
"""Path below which a cookie counts nothing."""
CALLBACKS = "/_dash-update-component"
UNWRITTEN = (CALLBACKS, "/sign-out")
"""Paths of requests that change nothing by themselves; pages write down what they change under the API's names."""
READING = ("GET", "HEAD", "OPTIONS")
MAX_BODY_BYTES = 1_000_000
BODY_S = 30.0
"""Seconds within which a body must have come."""
NEEDED = "needed: the header Authorization: Bearer TOKEN, with a token that is valid"
UNKNOWN = "this token is unknown, expired or revoked"
SESSION_ENDED = "JWT Expired: the session has ended; sign in again"
"""What a page is told that was open when its session ended; Dash looks for the first two words."""
DATABASE_GONE = "the database does not answer now"
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox"),
)


class Refused(Exception):
    """A request is not let in.

    Attributes:
        status: Status code of the answer.
        why: What the answer says.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


class Guard:
    """Lets requests in that are allowed to ask, and writes down those that are to change something.

    Args:
        application: What is guarded.
        tokens: Those who may ask.
        sessions: Cookies that stand for tokens.
        audit: Where changes are written down.
        hosts: Names of this server; IP addresses are always allowed, since no name was pointed here then.
        root_path: Path under which a reverse proxy serves the application.
        body_s: Seconds within which a body must have come.
    """

    def __init__(
        self,
        application: Application,
        tokens: Tokens,
        sessions: Sessions,
        audit: Audit,
        hosts: Iterable[str],
        root_path: str = "",
        *,
        body_s: float = BODY_S,
    ) -> None:
        self._application, self._tokens, self._sessions, self._audit = application, tokens, sessions, audit
        self._hosts = frozenset(host.lower() for host in hosts)
        self._root_path, self._body_s = root_path, body_s
        self._requests = RateLimit(per_s=100, burst=400)
        self._failures = RateLimit(per_s=0.5, burst=30)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        answer = Answer(send)
        token: Token | None = None
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        scope = {**scope, "path": self._inner(scope["path"]), "state": dict(scope.get("state", {}))}
        try:
            if scope["type"] != "http":
                raise Refused(403, "only HTTP is served")
            self._check_sender(headers)
            if scope["path"] not in OPEN and not scope["path"].startswith(OPEN_FOLDER):
                token = await self._authenticated(scope["path"], headers, _address(scope))
            scope["state"]["token"] = token
            body = b"" if scope["method"] in READING else await self._body(headers, receive)
        except Refused as refused:
            if refused.status == 401 and is_page(scope, headers):
                scope["state"]["wanted"], scope["path"] = scope["path"], SIGN_IN
                await self._application(scope, receive, answer.send)
            else:
                await answer.refuse(refused)
        except DATABASE_ERRORS:
            await answer.refuse(Refused(503, DATABASE_GONE))
        else:
            await self._application(scope, _replayed(body, receive), answer.send)
        if token is not None and scope["method"] not in READING and scope["path"] not in UNWRITTEN:
            await run_sync(self._audit.write, token, scope["method"], scope["path"], answer.status, _address(scope))

    def _inner(self, path: str) -> str:
        """Return a path without the prefix of the reverse proxy, which may have removed it."""
        is_below = path == self._root_path or path.startswith(f"{self._root_path}/")
        return path.removeprefix(self._root_path) or "/" if is_below else path

    async def _body(self, headers: dict[str, str], receive: Receive) -> bytes:
        try:
            with fail_after(self._body_s):
                return await _body(headers, receive)
        except TimeoutError:
            raise Refused(408, f"a body must come within {self._body_s:g} s") from None

    def _check_sender(self, headers: dict[str, str]) -> None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_ours(re.sub(r":\d*$", "", host).lower()):
            raise Refused(400, f"the host {host!r} is not this server; name it by --public-host")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            raise Refused(403, f"a page of {origin!r} may not ask")

    def _is_ours(self, name: str) -> bool:
        try:
            ip_address(name.strip("[]"))
        except ValueError:
            return name in self._hosts
        return True

    async def _authenticated(self, path: str, headers: dict[str, str], address: str) -> Token:
        """Return the token of a request."""
        kind, _, text = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            text = "" if _is_below(path, API) else self._sessions.token(headers.get("cookie", ""))
        token = await run_sync(self._tokens.check, text.strip()) if text else None
        # Whoever has a token is never locked out by others; who shows none guesses none.
        if token is None and text and not self._failures.take(address):
            raise Refused(429, "too many requests without a valid token; try again in a minute")
        if token is None:
            why = UNKNOWN if kind.lower() == "bearer" and text.strip() else NEEDED
            raise Refused(401, SESSION_ENDED if path.startswith(CALLBACKS) else why)
        if not self._requests.take(token.key):
            raise Refused(429, "too many requests; try again in a second")
        return token


class Answer:
    """Sends an answer with the headers that every answer has, and keeps its status.

    Attributes:
        status: Status code of the answer; 500 where none was sent.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 500

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = {name.lower() for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(h for h in HEADERS if h[0] not in given)]
        await self._send(message)

    async def refuse(self, refused: Refused) -> None:
        """Send why a request is refused."""
        body = json.dumps({"detail": refused.why}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers += [(b"www-authenticate", b"Bearer")] if refused.status == 401 else []
        await self.send({"type": "http.response.start", "status": refused.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def is_page(scope: Scope, headers: Mapping[str, str]) -> bool:
    """Return whether a browser wants to show the answer as a page, to which a form to sign in is an answer."""
    return scope["method"] == "GET" and "text/html" in headers.get("accept", "") and not _is_below(scope["path"], API)


def _address(scope: Scope) -> str:
    return scope["client"][0] if scope.get("client") else ""


async def _body(headers: dict[str, str], receive: Receive) -> bytes:
    """Return the whole body, which is refused where it is too long, whatever its headers promise."""
    too_long = Refused(413, f"a request may have {MAX_BODY_BYTES:,} bytes")
    promised = headers.get("content-length", "0")
    if not promised.isdigit() or len(promised) > 12 or int(promised) > MAX_BODY_BYTES:
        raise too_long
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "the request ended before its body")
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise too_long
        if not message.get("more_body", False):
            return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return what hands out a body that was read, and then what comes after it."""
    parts = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> MutableMapping[str, Any]:
        return parts.pop() if parts else await receive()

    return again
