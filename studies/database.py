"""Opens the database, configures it and upgrades its schema; no other module makes an engine.

SQLite is configured for several processes: write-ahead log, a long busy timeout and `BEGIN IMMEDIATE`, without which
two processes would receive the same waiting trial.
"""

import contextlib
import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy import Connection, Engine, column, event, inspect, select, table
from sqlalchemy.engine import URL, make_url

from paredown.studies.errors import DatabaseUnusable
from paredown.studies.making_tables import one_at_a_time
from paredown.studies.optuna_storage import ColumnStorage
from paredown.studies.tables import VERSION_TABLE

if TYPE_CHECKING:
    import alembic.config

BUSY_TIMEOUT_MS = 60_000
SECRET = ("password", "passwd", "token", "secret")
"""Options in the query of an address whose names contain one of these are not shown."""
HIDDEN = "hidden"
NO_ADDRESS = (sqlalchemy.exc.ArgumentError, ValueError)
"""What SQLAlchemy raises where a text is no address; the latter where a port is no number."""


def _configure(engine: Engine) -> None:
    """Attach the event listeners, and drop the connections that were made before.

    Optuna opens a second connection inside a transaction while it makes its tables, so that `BEGIN IMMEDIATE` is
    possible only afterwards.
    """
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin)
    engine.dispose()


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
        raise _unusable(url, f"there is no file {file}; run `paredown search` first")
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with one_at_a_time(address):
            # A server may have restarted since a connection was used last.
            storage = ColumnStorage(url, engine_kwargs={} if file is not None else {"pool_pre_ping": True})
            if file is not None:
                _configure(storage.engine)
            _upgrade(storage.engine, url)
    except sqlalchemy.exc.ArgumentError as error:
        raise _unusable(url, str(error)) from error
    except ImportError as error:
        raise _unusable(url, f"its driver is not installed ({error})") from error
    except sqlalchemy.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error)
        raise _unusable(url, f"cannot be used as a database: {reason}") from error
    except optuna.exceptions.StorageInternalError as error:
        raise _unusable(url, f"cannot be used as a database: {error.__cause__}") from error
    except RuntimeError as error:  # Optuna raises it for a schema newer or older than its own
        raise _unusable(url, str(error)) from error
    finally:
        optuna.logging.set_verbosity(level)
    return storage


def _address(url: str) -> URL:
    try:
        return make_url(url)
    except NO_ADDRESS:
        why = "not a database address; write it as sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"
        raise _unusable(url, why) from None


def shown(url: str) -> str:
    """Return an address of a database as messages may show it, without its passwords."""
    try:
        address = make_url(url)
    except NO_ADDRESS:
        text = re.sub(rf"(?i)((?:{'|'.join(SECRET)})\w*=)[^&]*", rf"\g<1>{HIDDEN}", url)
        return re.sub(r"^(\w[\w+]*:?/*)?([^:@/]*):.*@", r"\1\2:***@", text)
    secret = {key: HIDDEN for key in address.query if any(word in key.lower() for word in SECRET)}
    return address.update_query_dict(secret).render_as_string(hide_password=True)


def _unusable(url: str, why: str) -> DatabaseUnusable:
    """Return the error; what a driver of the database says may repeat the address or its password."""
    why = why.replace(url, shown(url))
    with contextlib.suppress(*NO_ADDRESS):
        if password := make_url(url).password:
            why = why.replace(password, "***")
    return DatabaseUnusable(f"--storage {shown(url)}: {why}")


def _upgrade(engine: Engine, url: str) -> None:
    """Upgrade the tables; for a database that is up to date, Alembic is not loaded."""
    revisions = _revisions()
    with engine.begin() as connection:
        current = _revision_of(connection)
        if current == revisions[-1]:
            return
        if current is not None and current not in revisions:
            why = f"made by a newer Paredown (schema {current}); install that version, or name another database"
            raise _unusable(url, why)
        import alembic.command

        config = migrations()
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "head")


def _revisions() -> list[str]:
    """Return the revisions of our tables, the current one last, from the names of their files."""
    files = (resources.files("paredown.studies") / "migrations/versions").iterdir()
    return sorted(file.name.partition("_")[0] for file in files if file.name[0].isdigit())


def _revision_of(connection: Connection) -> str | None:
    """Return the revision of a database's tables; None where it has none."""
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
