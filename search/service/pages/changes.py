"""Changes that pages make: who may, and what the audit log says of them, under the names of the API."""

from collections.abc import Callable
from typing import TypeVar

from paredown.search.service.pages.dash_server import asker, asker_address
from paredown.search.service.service import Service
from paredown.spaces.errors import ParedownError
from paredown.studies.access.tokens import Token

T = TypeVar("T")


class NotAllowed(ParedownError):
    """The scope of a token does not suffice."""


def need(token: Token, scope: str) -> None:
    """Check the scope of a token.

    Raises:
        NotAllowed: It does not suffice.
    """
    if not token.allows(scope):
        raise NotAllowed(f"this token allows {', '.join(token.scopes)}; needed: {scope}")


def changed(service: Service, scope: str, method: str, path: str, change: Callable[[], T]) -> T:
    """Make a change for whoever asks, and write it down.

    Args:
        service: The service.
        scope: Scope that it needs.
        method: Method of the request of the API that does the same.
        path: Its path.
        change: What changes something.

    Raises:
        ParedownError: It is not allowed, or not possible.
    """
    token, status = asker(), 500
    try:
        need(token, scope)
        done = change()
        status = 200
    except NotAllowed:
        status = 403
        raise
    except ParedownError:
        status = 422
        raise
    finally:
        service.audit.write(token, method, path, status, asker_address())
    return done
