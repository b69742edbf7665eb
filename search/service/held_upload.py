"""Holds the body of an upload back until its route reads it.

The guard reads bodies whole before it lets a request in, and short ones only. A data set may be longer than memory: the
guard sees such a request without its body, and the route, which only those reach whom the guard lets in, writes the
body to the disk as it comes.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from anyio import current_time, fail_after

from paredown.search.service.datasets import UploadTooLarge
from paredown.spaces.errors import ParedownError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

UPLOAD = re.compile(r"/v1/datasets/[^/]+")
KEY = "paredown.upload"
"""Where the scope of a request keeps what reads its body."""
OF_THE_BODY = (b"content-length", b"transfer-encoding")
IDLE_S = 60.0
"""Seconds of waiting within which the next `LEAST_BYTES` of an upload must come."""
LEAST_BYTES = 4096
"""Number of bytes that show that a sender is at work: one that sends a byte now and then holds a place for nothing."""


class UploadStalled(ParedownError):
    """The sender of an upload has gone, or sends next to nothing."""


class HeldUploads:
    """An application before which uploads are held back.

    Args:
        application: The guard and all behind it.
        root_path: Path under which a reverse proxy serves it.
    """

    def __init__(self, application: Application, root_path: str = "") -> None:
        self._application, self._root_path = application, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, without its body where that is an upload."""
        is_upload = scope["type"] == "http" and scope["method"] == "PUT"
        if is_upload and UPLOAD.fullmatch(scope["path"].removeprefix(self._root_path)):
            headers = [header for header in scope["headers"] if header[0] not in OF_THE_BODY]
            scope = {**scope, "headers": headers, KEY: receive}
            receive = _nothing_then(receive)
        await self._application(scope, receive, send)


async def uploaded(scope: Scope, limit: int) -> AsyncIterator[bytes]:
    """Yield the body of an upload, piece by piece.

    Args:
        scope: Scope of a request that was held back.
        limit: Maximum number of bytes.

    Raises:
        UploadTooLarge: It is longer.
        UploadStalled: Too little of it came for too long; the time that the reader takes does not count.
        ConnectionError: The request ended before its body.
    """
    length, fresh, waited_s = 0, 0, 0.0
    while True:
        began = current_time()
        try:
            with fail_after(IDLE_S - waited_s):
                message = await scope[KEY]()
        except TimeoutError:
            raise UploadStalled(f"less than {LEAST_BYTES:,} bytes of the zip file came within {IDLE_S:g} s") from None
        if message["type"] == "http.disconnect":
            raise ConnectionError("the request ended before its body")
        part = message.get("body", b"")
        length, fresh, waited_s = length + len(part), fresh + len(part), waited_s + current_time() - began
        if fresh >= LEAST_BYTES:
            fresh, waited_s = 0, 0.0
        if length > limit:
            raise UploadTooLarge(f"the zip file is larger than {limit:,} bytes, the limit of this server")
        yield part
        if not message.get("more_body", False):
            return


def _nothing_then(receive: Receive) -> Receive:
    """Return what hands out an empty body, and then what comes after it."""
    parts = [{"type": "http.request", "body": b"", "more_body": False}]

    async def held() -> MutableMapping[str, Any]:
        return parts.pop() if parts else await receive()

    return held
