"""Opens the database, configures it and upgrades its schema; no other module makes an engine.

SQLite is configured for several processes: write-ahead log, a long busy timeout and `BEGIN IMMEDIATE`, without which
two processes would receive the same waiting trial.
"""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.storages import RDBStorage
from sqlalchemy import Connection, Engine, column, event, inspect, select, table
from sqlalchemy.engine import URL, make_url

from paredown.studies.errors import DatabaseUnusable
from paredown.studies.optuna_storage import ColumnStorage
from paredown.studies.tables import VERSION_TABLE

if TYPE_CHECKING:
    import alembic.config

BUSY_TIMEOUT_MS = 60_000


def _configure(engine: Engine) -> None:
    """Attach the event listeners, and drop the connections that were made before.

    Optuna opens a second connection inside a transaction while it makes its tables, so that `BEGIN IMMEDIATE` is
    possible only afterwards.
    """
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin)
    engine.dispose()


@contextlib.contextmanager
def _one_at_a_time(file: Path | None) -> Iterator[None]:
    """Ensure that one process at a time makes the tables of a SQLite file."""
    if file is None:
        yield
        return
    name = hashlib.sha256(str(file.absolute()).encode()).hexdigest()[:16]
    with FileLock(Path(tempfile.gettempdir(), f"paredown-{name}.lock"), mode=0o666):
        yield


def _set_pragmas(connection: Any, record: object) -> None:
    del record
    connection.isolation_level = None  # no implicit BEGIN: ours follows
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def open_storage(url: str, *, must_exist: bool = False) -> RDBStorage:
    """Open the database, make or upgrade its tables, and return it as Optuna's storage.

    Args:
        url: Address in SQLAlchemy's form, such as `sqlite:///paredown.db`.
        must_exist: Whether a missing SQLite file is an error instead of a new database.

    Raises:
        DatabaseUnusable: The database cannot be opened, is no database, or was made by a newer version.
    """
    address = _address(url)
    file = Path(address.database) if address.get_backend_name() == "sqlite" and address.database else None
    if must_exist and file is not None and not file.exists():
        raise DatabaseUnusable(f"--storage {url}: there is no file {file}; run `paredown search` first")
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with _one_at_a_time(file):
            storage = ColumnStorage(url)
            if file is not None:
                _configure(storage.engine)
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
    except RuntimeError as error:  # Optuna raises it for a schema newer or older than its own
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
    """Bring the tables up to date; a database that is up to date does not load Alembic."""
    revisions = _revisions()
    with engine.begin() as connection:
        current = _revision_of(connection)
        if current == revisions[-1]:
            return
        if current is not None and current not in revisions:
            raise DatabaseUnusable(
                f"--storage {url}: made by a newer Paredown (schema {current}); "
                "install that version, or name another database"
            )
        import alembic.command

        config = migrations()
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "head")


def _revisions() -> list[str]:
    """Return the revisions of our tables, the present one last; their files are named by them."""
    files = (resources.files("paredown.studies") / "migrations/versions").iterdir()
    return sorted(file.name.partition("_")[0] for file in files if file.name[0].isdigit())


def _revision_of(connection: Connection) -> str | None:
    """Return the revision of a database's tables; None where there are none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    versions = table(VERSION_TABLE, column("version_num"))
    revision: str | None = connection.scalar(select(versions.c.version_num))
    return revision


def migrations() -> "alembic.config.Config":
    """Return Alembic's configuration for the migrations in this package."""
    import alembic.config

    config = alembic.config.Config()
    config.set_main_option("script_location", str(resources.files("paredown.studies") / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
