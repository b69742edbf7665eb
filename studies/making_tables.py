"""One process at a time makes the tables of a database."""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock
from sqlalchemy import NullPool, create_engine, func, select

from paredown.studies.database_address import Address

LOCK = int.from_bytes(b"paredown", "big") >> 1
"""Number of the lock in a PostgreSQL database."""


@contextlib.contextmanager
def one_at_a_time(address: Address) -> Iterator[None]:
    """Ensure that one process at a time makes or upgrades the tables of a database.

    Optuna and Alembic see whether there are tables, and then make them: two searches that begin at once would both.
    """
    if address.engine.get_backend_name() == "postgresql":
        options = dict(address.engine_options) | {"poolclass": NullPool, "isolation_level": "AUTOCOMMIT"}
        # Without a transaction around the lock: the server ends those that idle.
        engine = create_engine(address.engine, **options)
        with engine.connect() as connection:  # the lock ends with the connection
            connection.execute(select(func.pg_advisory_lock(LOCK)))
            yield
    elif address.file is not None:
        name = hashlib.sha256(str(address.file.absolute()).encode()).hexdigest()[:16]
        with FileLock(Path(tempfile.gettempdir(), f"paredown-{name}.lock"), mode=0o666):
            yield
    else:
        yield
