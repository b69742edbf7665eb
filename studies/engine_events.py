"""What every connection to a database does: how transactions begin, and what its errors become.

SQLite is configured for several processes: write-ahead log, a long busy timeout and `BEGIN IMMEDIATE`, without which
two processes would receive the same waiting trial.
"""

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError

from paredown.studies.database_address import Address, unusable

BUSY_TIMEOUT_MS = 60_000
RECONNECT_S = 60.0
"""Seconds for which a connection to a server that was reachable before is tried again."""
RETRY_S = 0.5
LATER = "what is finished is saved, and the same command goes on"
HINTS = {
    "readonly": "the database can only be looked at",
    "is full": f"make room on its disk; {LATER}",
    "locked": f"another process has held it for {BUSY_TIMEOUT_MS // 1000} s; {LATER}",
    "no such table": "its tables are gone",
}
"""What a user can do about an error, by words of it."""


def attach(engine: Engine, address: Address) -> None:
    """Attach the event listeners, and drop the connections that were made before.

    Optuna opens a second connection inside a transaction while it makes its tables, so that `BEGIN IMMEDIATE` is
    possible only afterwards.
    """

    def explain(context: ExceptionContext) -> None:
        error = context.sqlalchemy_exception
        is_ours = isinstance(error, OperationalError | InterfaceError) or type(error) is DatabaseError
        if is_ours and not context.is_pre_ping:
            said = " ".join(str(context.original_exception).split())
            hint = next((hint for words, hint in HINTS.items() if words in said), LATER)
            raise unusable(address.given, f"{said}; {hint}") from error

    event.listen(engine, "handle_error", explain)
    if address.file is None:
        event.listen(engine, "do_connect", _connect_again)
    else:
        _attach_to_sqlite(engine, address, address.file)
    engine.dispose()


def _attach_to_sqlite(engine: Engine, address: Address, file: Path) -> None:
    opened = _identity(file)

    def check(connection: Connection | None = None) -> None:
        """Refuse to write into a file that nobody will find again, or into a new one."""
        if (found := _identity(file)) != opened:
            what = "was deleted" if found is None else "was replaced by another one"
            kept = "" if connection is None or address.read_only else _rescued(connection, file)
            raise unusable(address.given, f"the file {what} while it was in use{kept}")

    def do_connect(*_: object) -> None:
        check()

    def set_pragmas(connection: Any, record: object) -> None:
        del record
        connection.isolation_level = None  # no implicit BEGIN: ours follows
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA foreign_keys=ON")
        if not address.read_only:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")

    def begin(connection: Connection) -> None:
        check(connection)
        connection.exec_driver_sql("BEGIN" if address.read_only else "BEGIN IMMEDIATE")

    event.listen(engine, "do_connect", do_connect)
    event.listen(engine, "connect", set_pragmas)
    event.listen(engine, "begin", begin)


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _rescued(connection: Connection, file: Path) -> str:
    """Write what an open connection still holds of a deleted database beside its place, and say where."""
    rescue = file.with_name(f"{file.name}.rescued-{os.getpid()}")
    if not rescue.exists():
        driver: Any = connection.connection.driver_connection
        try:
            with contextlib.closing(sqlite3.connect(rescue)) as target:
                driver.backup(target)
        except sqlite3.Error as error:
            return f"; what it held could not be saved: {error}"
    return f"; what it held is in {rescue}: rename it to {file.name}, and the same command goes on"


def _connect_again(dialect: Any, record: object, arguments: Any, keys: Any) -> Any:
    """Connect to a server, also to one that restarts meanwhile."""
    del record
    end = time.monotonic() + RECONNECT_S
    while True:
        try:
            return dialect.connect(*arguments, **keys)
        except dialect.loaded_dbapi.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(RETRY_S)
