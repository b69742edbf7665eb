"""One process at a time makes the tables of a database."""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock
from sqlalchemy import NullPool, create_engine, func, select
from sqlalchemy.engine import URL

LOCK = int.from_bytes(b"paredown", "big") >> 1
"""Number of the lock in a PostgreSQL database."""


@contextlib.contextmanager
def one_at_a_time(address: URL) -> Iterator[None]:
    """Ensure that one process at a time makes or upgrades the tables of a database.

    Optuna and Alembic see whether there are tables, and then make them: two searches that begin at once would both.
    """
    if address.get_backend_name() == "postgresql":
        engine = create_engine(address, poolclass=NullPool)
        with engine.connect() as connection:  # the lock ends with the connection
            connection.execute(select(func.pg_advisory_lock(LOCK)))
            yield
    elif address.get_backend_name() == "sqlite" and address.database:
        name = hashlib.sha256(str(Path(address.database).absolute()).encode()).hexdigest()[:16]
        with FileLock(Path(tempfile.gettempdir(), f"paredown-{name}.lock"), mode=0o666):
            yield
    else:
        yield
