"""Connections of the service: one that brings no whole request in time is closed.

uvicorn waits for the headers of a first request without end, so that a few thousand silent connections would use up
what a process may open. The guard sees to bodies.
"""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_S = 20.0
"""Seconds within which the headers of a request must have come."""


class Connection(H11Protocol):
    """Speaks HTTP; see `HEADERS_S`."""

    headers_s = HEADERS_S
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request; where not even a byte comes, uvicorn's own limit is shorter."""
        super().on_response_complete()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        if self._waiting is not None:
            self._waiting.cancel()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = self.loop.call_later(self.headers_s, self._close_if_idle, self.cycle)

    def _close_if_idle(self, latest: object) -> None:
        if self.cycle is latest and not self.transport.is_closing():
            self.transport.close()
