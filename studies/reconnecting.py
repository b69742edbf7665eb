"""Waits for a database server that restarts, so that no trial is lost for it."""

import functools
import sqlite3
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from paredown.studies.errors import DatabaseUnusable

PATIENCE_S = 120.0
"""Seconds in which a server has to come back."""
PAUSE_S = 0.5
"""Seconds between two tries."""
SHUTDOWN = ("57P01", "57P02", "57P03")
"""Codes of PostgreSQL: it is told to end, another of its processes has crashed, it is not ready yet."""

P = ParamSpec("P")
T = TypeVar("T")


def reconnecting(method: Callable[P, T]) -> Callable[P, T]:
    """Let a method that may be begun anew wait for a server that is away, and call it again."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        first = time.monotonic()
        while True:
            try:
                return method(*args, **kwargs)
            except (SQLAlchemyError, StorageInternalError, DatabaseUnusable) as error:
                if not is_away(error) or time.monotonic() - first > PATIENCE_S:
                    raise
            time.sleep(PAUSE_S)

    return call


def is_away(error: BaseException | None) -> bool:
    """Return whether an error says that the server cannot be reached or has ended the connection."""
    while error is not None and not isinstance(error, DBAPIError):
        error = error.__cause__
    if error is None or isinstance(error.orig, sqlite3.Error):
        return False
    code: str | None = getattr(error.orig, "sqlstate", None)
    is_refused = isinstance(error, OperationalError | InterfaceError) and (code is None or code.startswith("08"))
    return error.connection_invalidated or is_refused or code in SHUTDOWN
