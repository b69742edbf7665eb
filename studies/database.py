"""The one place with an engine: opens the database, sets it up, brings the schema up to date.

SQLite is used as several processes need it: write-ahead log, a long busy timeout and `BEGIN IMMEDIATE`,
without which two processes are handed the same waiting trial.
"""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import alembic.script
import optuna
import sqlalchemy
from alembic.runtime.migration import MigrationContext
from filelock import FileLock
from optuna.storages import RDBStorage
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL, make_url

from paredown.studies.errors import DatabaseUnusable
from paredown.studies.tables import PREFIX

BUSY_TIMEOUT_MS = 60_000
VERSION_TABLE = PREFIX + "alembic_version"


def _use_well(engine: Engine) -> None:
    """Attach the events; connections made before them are dropped.

    Optuna opens a second connection inside a first transaction while it makes its tables, so
    `BEGIN IMMEDIATE` can only come after that.
    """
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    engine.dispose()


@contextlib.contextmanager
def _one_at_a_time(file: Path | None) -> Iterator[None]:
    """Let one process at a time make the tables of a SQLite file."""
    if file is None:
        yield
        return
    name = hashlib.sha256(str(file.absolute()).encode()).hexdigest()[:16]
    with FileLock(Path(tempfile.gettempdir(), f"paredown-{name}.lock"), mode=0o666):
        yield


def _set_up(connection: Any, record: object) -> None:
    del record
    connection.isolation_level = None  # no implicit BEGIN: ours follows
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def open_storage(url: str, *, must_exist: bool = False) -> RDBStorage:
    """Open the database, make or upgrade the tables, and return Optuna's view of it.

    Args:
        url: SQLAlchemy's form, such as `sqlite:///paredown.db`.
        must_exist: Whether a missing SQLite file is an error instead of a new database.

    Raises:
        DatabaseUnusable: It cannot be opened, is no database, or was made by a newer version.
    """
    address = _address(url)
    file = Path(address.database) if address.get_backend_name() == "sqlite" and address.database else None
    if must_exist and file is not None and not file.exists():
        raise DatabaseUnusable(f"--storage {url}: there is no file {file}; run `paredown search` first")
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with _one_at_a_time(file):
            storage = RDBStorage(url)
            if file is not None:
                _use_well(storage.engine)
            _upgrade(storage.engine, url)
    except sqlalchemy.exc.ArgumentError as error:
        raise DatabaseUnusable(f"--storage {url}: {error}") from error
    except ImportError as error:
        raise DatabaseUnusable(f"--storage {url}: its driver is not installed ({error})") from error
    except sqlalchemy.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error)
        raise DatabaseUnusable(f"--storage {url}: cannot be used as a database: {reason}") from error
    except optuna.exceptions.StorageInternalError as error:
        raise DatabaseUnusable(f"--storage {url}: cannot be used as a database: {error.__cause__}") from error
    except RuntimeError as error:  # Optuna's word for a schema newer or older than itself
        raise DatabaseUnusable(f"--storage {url}: {error}") from error
    finally:
        optuna.logging.set_verbosity(level)
    return storage


def _address(url: str) -> URL:
    try:
        return make_url(url)
    except sqlalchemy.exc.ArgumentError:
        raise DatabaseUnusable(
            f"--storage {url}: not a database address; write it as sqlite:///FILE or "
            "postgresql+psycopg://USER@HOST/NAME"
        ) from None


def _upgrade(engine: Engine, url: str) -> None:
    config = migrations()
    script = alembic.script.ScriptDirectory.from_config(config)
    with engine.begin() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        current = context.get_current_revision()
        if current == script.get_current_head():
            return
        if current is not None and current not in {r.revision for r in script.walk_revisions()}:
            raise DatabaseUnusable(
                f"--storage {url}: made by a newer Paredown (schema {current}); "
                "install that version, or name another database"
            )
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "head")


def migrations() -> alembic.config.Config:
    """Return Alembic's configuration for the migrations in this package."""
    config = alembic.config.Config()
    config.set_main_option("script_location", str(resources.files("paredown.studies") / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
