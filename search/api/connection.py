"""Asks a server of the service: one request and its answer."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import IO, Any

from paredown.spaces.errors import ParedownError

TIMEOUT_S = 330.0
"""Seconds after which an answer is given up; a server checks what is submitted before it answers."""


class ServerRefused(ParedownError):
    """A server refused a request, or cannot be reached.

    Attributes:
        status: Status code of the answer; 0 where there was none.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Connection:
    """A server, reached with a token.

    Args:
        url: Its address, such as `http://127.0.0.1:8000`.
        token: What `paredown token create` printed.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url.rstrip("/"), token
        parts = urllib.parse.urlsplit(self._url)
        self._shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()  # without a password
        if parts.scheme not in ("http", "https"):
            raise ServerRefused(f"{self._shown}: no address of a server; write it as http://HOST:PORT")

    def json(
        self, method: str, path: str, body: bytes | IO[bytes] | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Send a request, and return the document that answers it; an empty one where nothing does."""
        with self.answer(method, path, body, headers) as answer:
            text = answer.read()
        return dict(json.loads(text)) if text else {}

    def answer(
        self, method: str, path: str, body: bytes | IO[bytes] | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Send a request, and return the open answer, which the caller closes.

        Raises:
            ServerRefused: The server refuses it, or cannot be reached.
        """
        sent = {"Authorization": f"Bearer {self._token}"} | dict(headers or {})
        request = urllib.request.Request(self._url + path, data=body, method=method, headers=sent)
        try:
            return urllib.request.urlopen(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            with error:
                raise ServerRefused(_detail(error.read()) or f"status {error.code}", error.code) from None
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", None) or error
            raise ServerRefused(f"{self._shown}: cannot be reached: {reason}") from None


def _detail(body: bytes) -> str:
    """Return what a server says of a refusal; empty where it is no document of ours."""
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, TypeError, KeyError):
        return ""
