"""Run by Alembic: our tables only, with a version table of our own beside Optuna's."""

from typing import Any

from alembic import context

from paredown.studies.tables import PREFIX, VERSION_TABLE, Table


def _is_ours(name: str | None, kind: str, parents: Any) -> bool:
    del parents
    return kind != "table" or (name is not None and name.startswith(PREFIX))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    version_table=VERSION_TABLE,
    include_name=_is_ours,
    render_as_batch=True,
)
context.run_migrations()
