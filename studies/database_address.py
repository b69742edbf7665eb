"""Addresses of databases: what they name, which are refused, and how messages show them."""

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import sqlalchemy
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection

from paredown.studies.errors import DatabaseUnusable

SECRET = ("password", "passwd", "token", "secret")
"""Options in the query of an address whose names contain one of these are not shown."""
HIDDEN = "hidden"
NO_ADDRESS = (sqlalchemy.exc.ArgumentError, ValueError)
"""What SQLAlchemy raises where a text is no address; the latter where a port is no number."""
CONNECT_TIMEOUT_S = 10
"""Seconds after which a server that does not answer counts as unreachable."""
IDLE = "idle_in_transaction_session_timeout"
"""Setting of PostgreSQL: how long a transaction may do nothing before the server ends it; 0 is for ever."""
IDLE_TIMEOUT_S = 30
"""Seconds of it where neither the address nor the server sets any: as long as a lease lasts."""


@dataclass(frozen=True)
class Address:
    """The address of a database.

    Attributes:
        given: The address as the user wrote it.
        engine: The address for SQLAlchemy.
        file: File of a SQLite database; None for a server.
        read_only: Why the database can only be looked at; empty where it can be written.
    """

    given: str
    engine: URL
    file: Path | None = None
    read_only: str = ""

    def check_writable(self, why: str) -> None:
        """Refuse a database that can only be looked at.

        Args:
            why: Why it must be writable, for the message.

        Raises:
            DatabaseUnusable: It cannot be written.
        """
        if self.read_only:
            raise unusable(self.given, f"{self.read_only}, so that it can only be looked at; {why}")

    @property
    def engine_options(self) -> Mapping[str, object]:
        """Options of the engine.

        A connection to a server is tried before it is used. Its transactions end where they idle: a process that is
        suspended in one, or whose machine is lost, would keep its locks and hold up all others.
        """
        if self.engine.get_backend_name() != "postgresql":
            return {}
        given = {"connect_timeout", "service"} & self.engine.query.keys()
        return {
            "pool_pre_ping": True,
            "pool_events": [(_end_idle_transactions, "connect")],
            "connect_args": {} if given else {"connect_timeout": CONNECT_TIMEOUT_S},
        }


def _end_idle_transactions(connection: DBAPIConnection, record: object) -> None:
    unset = f"SELECT set_config('{IDLE}', '{IDLE_TIMEOUT_S}s', false) WHERE current_setting('{IDLE}') = '0'"
    cursor = connection.cursor()
    cursor.execute(unset)
    cursor.close()
    connection.commit()  # what a transaction sets, it would take back


def read_address(url: str) -> Address:
    """Return what an address names.

    Raises:
        DatabaseUnusable: It is no address, or names a database in memory.
    """
    try:
        address = make_url(url)
        backend = address.get_backend_name()
    except NO_ADDRESS:
        why = "not a database address; write it as sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"
        raise unusable(url, why) from None
    return _sqlite(url, address) if backend == "sqlite" and not address.host else Address(url, address)


def _sqlite(url: str, address: URL) -> Address:
    given, query = address.database or "", {key: str(value) for key, value in address.query.items()}
    name = unquote(given.removeprefix("file:")) if given.startswith("file:") else given
    if name in ("", ":memory:") or query.get("mode") == "memory":
        raise unusable(
            url,
            "a database in memory ends with the process, and its trials with it; name a file: sqlite:///paredown.db",
        )
    file = Path(name)
    read_only = "it was opened with mode=ro" if query.get("mode") == "ro" else _not_writable(file)
    if not read_only and (given.startswith("file:") or "mode" not in query):
        return Address(url, address, file)
    query |= {"uri": "true"} | ({"mode": "ro"} if read_only else {})
    if read_only and not os.access(file.absolute().parent, os.W_OK) and not _has_log(file):
        query["immutable"] = "1"  # SQLite would make files of its own beside it
    as_uri = f"file:{quote(str(file.absolute()))}"
    return Address(url, address.set(database=as_uri, query=query), file, read_only)


def _not_writable(file: Path) -> str:
    """Return why a database that exists cannot be written; empty where it can, or does not exist."""
    for place in (file, file.absolute().parent):
        if file.exists() and not os.access(place, os.W_OK):
            return f"{place} cannot be written"
    return ""


def _has_log(file: Path) -> bool:
    """Return whether a log holds what is not in the database file yet."""
    log = Path(f"{file}-wal")
    return log.exists() and log.stat().st_size > 0


def shown(url: str) -> str:
    """Return an address of a database as messages may show it, without its passwords."""
    try:
        address = make_url(url)
    except NO_ADDRESS:
        text = re.sub(rf"(?i)((?:{'|'.join(SECRET)})\w*=)[^&]*", rf"\g<1>{HIDDEN}", url)
        return re.sub(r"^(\w[\w+]*:?/*)?([^:@/]*):.*@", r"\1\2:***@", text)
    secret = {key: HIDDEN for key in address.query if any(word in key.lower() for word in SECRET)}
    return address.update_query_dict(secret).render_as_string(hide_password=True)


def unusable(url: str, why: str) -> DatabaseUnusable:
    """Return the error; what a driver of the database says may repeat the address or its password."""
    why = why.replace(url, shown(url))
    with contextlib.suppress(*NO_ADDRESS):
        if password := make_url(url).password:
            why = why.replace(password, "***")
    return DatabaseUnusable(f"--storage {shown(url)}: {why}")
