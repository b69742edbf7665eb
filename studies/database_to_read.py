"""Opens a database to be looked at for long: nothing can be changed through it, and no search waits for its readers."""

from typing import Any

from optuna.storages import RDBStorage
from sqlalchemy import event

from paredown.studies.database import open_storage
from paredown.studies.optuna_storage import ColumnStorage

BUSY_TIMEOUT_MS = 60_000


def open_to_read(url: str) -> RDBStorage:
    """Return a database that exists as Optuna's storage, of which only reading works.

    Tables of an earlier version are upgraded before.

    Raises:
        DatabaseUnusable: As `open_storage`.
    """
    checked = open_storage(url, must_exist=True).engine
    checked.dispose()
    is_sqlite = checked.url.get_backend_name() == "sqlite"
    options = {} if is_sqlite else {"execution_options": {"postgresql_readonly": True}, "pool_pre_ping": True}
    address = checked.url.render_as_string(hide_password=False)
    storage = ColumnStorage(address, options, skip_compatibility_check=True, skip_table_creation=True)
    if is_sqlite:
        event.listen(storage.engine, "connect", _only_read)
        storage.engine.dispose()  # of a connection that Optuna made before
    return storage


def _only_read(connection: Any, record: object) -> None:
    """Forbid to write, and begin no transaction: a reader of the write-ahead log locks nobody out."""
    del record
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA query_only=ON")
