"""Waits for a database server that restarts, so that no trial is lost for it."""

import functools
import sqlite3
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from paredown.studies.errors import DatabaseUnusable

PATIENCE_S = 120.0
"""Seconds in which a server has to come back."""
PAUSE_S = 0.5
"""Seconds between two tries."""
ENDED = ("57P01", "57P02", "57P03", "25P03")
"""Codes of PostgreSQL: told to end, another of its processes crashed, not ready yet, the transaction idled too long."""
DATABASE_ERRORS = (SQLAlchemyError, StorageInternalError, DatabaseUnusable)
"""What a call of the database raises: an error of the driver, that error in Optuna's words, or in ours."""
REFUSING = ("OperationalError", "InterfaceError")
"""Names of the classes, of every driver, for errors of the connection."""

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
            except DATABASE_ERRORS as error:
                if not is_away(error) or time.monotonic() - first > PATIENCE_S:
                    raise
            time.sleep(PAUSE_S)

    return call


def is_away(error: BaseException | None) -> bool:
    """Return whether an error says that the server cannot be reached or has ended the connection.

    The causes of an error are looked at, down to SQLAlchemy's or to that of a driver with codes of SQL, which is all
    that is left of an error that was put into words for the user.
    """
    while error is not None and not isinstance(error, DBAPIError) and not hasattr(error, "sqlstate"):
        error = error.__cause__
    said = error.orig if isinstance(error, DBAPIError) else error
    if said is None or isinstance(said, sqlite3.Error):
        return False
    code: str | None = getattr(said, "sqlstate", None)
    is_refused = type(said).__name__ in REFUSING and (code is None or code.startswith("08"))
    is_broken = isinstance(error, DBAPIError) and error.connection_invalidated
    return is_broken or is_refused or code in ENDED
