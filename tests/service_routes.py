"""Every route of an application, whatever registered it, and requests to it without a network."""

import asyncio
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from fastapi.routing import iter_route_contexts

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def walk(routes: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield method and path of every route; of an application that is mounted, its root and a path below it."""
    for route in iter_route_contexts(list(routes)):
        path = prefix + str(route.path or "")
        inner = getattr(route.original_route, "routes", None)
        if inner is not None or not hasattr(route.original_route, "endpoint"):  # a mount
            yield from walk(inner or (), path)
            for method in METHODS:
                yield method, f"{path}/"
                yield method, f"{path}/anything"
        else:
            for method in sorted(route.methods or METHODS):
                yield method, path


def filled(path: str, value: str = "0", study: str = "digits") -> str:
    """Return a path with values in place of its parameters."""
    return re.sub(r"\{[^}]*\}", value, re.sub(r"\{study[^}]*\}", study, path))


def ask(
    application: Any,
    method: str,
    path: str,
    token: str = "",
    content: bytes = b"",
    *,
    client: str = "127.0.0.1",
    cookie: str = "",
) -> tuple[int, bytes]:
    """Send a request to an application and return status and body."""
    sent: list[dict[str, Any]] = []
    received: list[bool] = []
    headers = [(b"host", b"127.0.0.1")]
    headers += [(b"authorization", f"Bearer {token}".encode())] if token else []
    headers += [(b"cookie", cookie.encode())] if cookie else []
    path, _, query = path.partition("?")
    headers += [(b"content-type", b"application/json")] if content else []
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": headers,
        "client": (client, 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }

    async def receive() -> dict[str, Any]:
        if received:
            await asyncio.Event().wait()  # nobody hangs up
        received.append(True)
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(application(scope, receive, send))
    body = b"".join(one.get("body", b"") for one in sent if one["type"] == "http.response.body")
    return sent[0]["status"], body


def detail(body: bytes) -> str:
    """Return what an answer says."""
    return str(json.loads(body)["detail"])


def same(body: bytes) -> bytes:
    """Return an answer without the name that Dash gives each loading of a page."""
    return re.sub(rb'"end_id":"[^"]*"', b"", body)
