"""The guard before the dashboard, which has neither users nor passwords: who may ask, and for what.

A page that someone opens in the same browser can send requests to this machine. It cannot send the address of this
machine as the host after its own name was pointed here (DNS rebinding), and its requests name it as their origin.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

Start = Callable[..., Any]
Application = Callable[[dict[str, Any], Start], Iterable[bytes]]

READING = ("GET", "HEAD")
NOTES = re.compile(r"/api/studies/\d+(/\d+)?/note")
MAX_BODY_BYTES = 1_000_000
HEADERS = (("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "SAMEORIGIN"), ("Referrer-Policy", "no-referrer"))
SANDBOX = ("Content-Security-Policy", "sandbox allow-scripts")
"""Header of files: a page among them runs its scripts, but without access to the dashboard."""
OPEN_TO_ALL = "Access-Control-Allow-Origin"
"""A header of the dashboard's files which would let every page on the web read them."""


class Guard:
    """Refuses what is not asked by this machine's browser of this machine, and all that would change a study.

    Args:
        application: The dashboard.
        hosts: Names by which this machine may be called; the port may be any, as that of an SSH tunnel is.
        can_write_notes: Whether notes may be changed.
    """

    def __init__(self, application: Application, hosts: Iterable[str], *, can_write_notes: bool) -> None:
        self._application = application
        self._hosts = frozenset(hosts)
        self._can_write_notes = can_write_notes

    def __call__(self, environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        """Answer a request."""
        is_file = environ.get("PATH_INFO", "").startswith("/artifacts/")

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            kept = [header for header in headers if header[0].lower() != OPEN_TO_ALL.lower()]
            return start_response(status, [*kept, *HEADERS, *([SANDBOX] if is_file else [])], *rest)

        if (refusal := self._refusal(environ)) is not None:
            status, why = refusal
            text = f"paredown dashboard: {why}\n".encode()
            headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))]
            start(status, headers)
            return [text]
        return self._application(environ, start)

    def _refusal(self, environ: dict[str, Any]) -> tuple[str, str] | None:
        """Return status and reason where a request is refused."""
        host, origin = environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")
        if _name(host) not in self._hosts:
            return (
                "400 Bad Request",
                f"the host {host!r} is not this machine; allowed: {', '.join(sorted(self._hosts))}",
            )
        if origin is not None and origin != f"http://{host}":
            return "403 Forbidden", f"a page of {origin!r} may not ask"
        if environ["REQUEST_METHOD"] in READING:
            return None
        if environ["REQUEST_METHOD"] != "PUT" or not NOTES.fullmatch(environ.get("PATH_INFO", "")):
            return "403 Forbidden", "studies are changed by the commands of paredown alone"
        if not self._can_write_notes:
            return "403 Forbidden", "it was started to be read; start it with --write to change notes"
        if not (environ.get("CONTENT_LENGTH") or "0").isdigit() or int(environ["CONTENT_LENGTH"] or 0) > MAX_BODY_BYTES:
            return "413 Content Too Large", f"a note may have {MAX_BODY_BYTES:,} bytes"
        return None


def _name(host: str) -> str:
    """Return a host without its port."""
    return re.sub(r":\d*$", "", host).lower()
