"""Opens the database, configures it and upgrades its schema; no other module makes an engine."""

from importlib import resources
from typing import TYPE_CHECKING

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy import Connection, Engine, column, inspect, select, table

from paredown.studies.database_address import Address, read_address, unusable
from paredown.studies.engine_events import attach
from paredown.studies.making_tables import one_at_a_time
from paredown.studies.optuna_storage import ColumnStorage
from paredown.studies.tables import VERSION_TABLE

if TYPE_CHECKING:
    import alembic.config

A_SEARCH_WRITES = "a search stores its trials there"


def open_storage(url: str, *, must_exist: bool = False, why_write: str = "") -> RDBStorage:
    """Open the database, make or upgrade its tables, and return it as Optuna's storage.

    Args:
        url: Address in SQLAlchemy's form, such as `sqlite:///paredown.db`.
        must_exist: Whether a missing SQLite file is an error instead of a new database.
        why_write: Why the database must be writable, for the message where it is not; empty where it need not be.

    Raises:
        DatabaseUnusable: The database cannot be opened, is no database, or was made by a newer version.
    """
    address = read_address(url)
    file = address.file
    if file is not None and not file.exists() and (must_exist or address.read_only):
        raise unusable(url, f"there is no file {file}; run `paredown search` first")
    if why_write:
        address.check_writable(why_write)
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with one_at_a_time(address):
            storage = _opened(address)
            attach(storage.engine, address)
            _upgrade(storage.engine, address)
    except sqlalchemy.exc.ArgumentError as error:
        raise unusable(url, str(error)) from error
    except ImportError as error:
        hint = ": pip install 'paredown[postgres]'" if address.engine.drivername == "postgresql+psycopg" else ""
        raise unusable(url, f"its driver is not installed ({error}){hint}") from error
    except sqlalchemy.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error)
        raise unusable(url, f"cannot be used as a database: {reason}") from error
    except optuna.exceptions.StorageInternalError as error:
        raise unusable(url, f"cannot be used as a database: {error.__cause__}") from error
    except RuntimeError as error:  # Optuna raises it for a schema newer or older than its own
        raise unusable(url, str(error)) from error
    finally:
        optuna.logging.set_verbosity(level)
    return storage


def _opened(address: Address) -> RDBStorage:
    engine_url = address.engine.render_as_string(hide_password=False)
    options = dict(address.engine_options)
    return ColumnStorage(engine_url, engine_kwargs=options, skip_table_creation=bool(address.read_only))


def _upgrade(engine: Engine, address: Address) -> None:
    """Upgrade the tables; for a database that is up to date, Alembic is not loaded."""
    revisions = _revisions()
    with engine.begin() as connection:
        current = _revision_of(connection)
        if current == revisions[-1]:
            return
        if current is not None and current not in revisions:
            why = f"made by a newer Paredown (schema {current}); install that version, or name another database"
            raise unusable(address.given, why)
        if address.read_only:
            why = f"{address.read_only}, and its tables are of an earlier version; open it once where it can be written"
            raise unusable(address.given, why)
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
