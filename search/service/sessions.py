"""Sessions of browsers: a random name in a cookie that stands for a token while the server runs.

The token itself never lies in a browser. It is looked up at each request: one that is revoked or expires ends its
sessions at once. A server that starts again knows no session; whoever used one signs in again.
"""

import secrets
import threading
import time
from collections import OrderedDict
from http.cookies import CookieError, SimpleCookie

COOKIE = "paredown_session"
LIFETIME_S = 12 * 3600.0
"""Seconds after which a session ends."""
KEPT = 10_000
"""Maximum number of sessions; the oldest one ends first."""


class Sessions:
    """The sessions of a server."""

    def __init__(self) -> None:
        self._tokens: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, token: str) -> str:
        """Return the name of a new session, which stands for the text of a token."""
        name = secrets.token_urlsafe(32)
        with self._lock:
            self._tokens[name] = (time.monotonic() + LIFETIME_S, token)
            if len(self._tokens) > KEPT:
                self._tokens.popitem(last=False)
        return name

    def token(self, cookies: str) -> str:
        """Return the token for which a `Cookie` header stands; an empty text where it names no session."""
        with self._lock:
            ends_at, token = self._tokens.get(session_of(cookies), (0.0, ""))
        return token if time.monotonic() < ends_at else ""

    def close(self, cookies: str) -> None:
        """End the session that a `Cookie` header names."""
        with self._lock:
            self._tokens.pop(session_of(cookies), None)


def session_of(cookies: str) -> str:
    """Return the session that a `Cookie` header names; an empty text where it names none."""
    try:
        found = SimpleCookie(cookies).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value
