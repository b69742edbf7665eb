"""Finds a study and its rows in the tables of a database, ours and Optuna's, for what is done to whole studies."""

import difflib
import re
from collections.abc import Iterator

from optuna.storages import RDBStorage
from optuna.storages._rdb.models import BaseModel, StudyModel
from sqlalchemy import ColumnElement, MetaData, Table, select
from sqlalchemy.orm import Session

from paredown.studies.database_address import shown
from paredown.studies.errors import StudyError, StudyNotFound
from paredown.studies.ownership import live_runners
from paredown.studies.tables import RunnerRow, StudyRow
from paredown.studies.tables import Table as OurTable

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
"""What a study may be called, as in study files."""
OURS, OPTUNAS = OurTable.metadata, BaseModel.metadata
Rows = tuple[Table, ColumnElement[bool]]
"""A table, and the condition of the rows that belong to a study."""


def locked_row(session: Session, name: str, url: str) -> StudyRow:
    """Return the row of a study, which no search can change until the session ends.

    Raises:
        StudyNotFound: There is no such study; the message names one of a similar name, or all.
    """
    row = session.scalar(select(StudyRow).where(StudyRow.name == name).with_for_update())
    if row is None:
        names = list(session.scalars(select(StudyRow.name).order_by(StudyRow.name)))
        raise not_found(name, names, url)
    return row


def not_found(name: str, names: list[str], url: str) -> StudyNotFound:
    """Return the error for a study that does not exist."""
    near = difflib.get_close_matches(name, names, 1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return StudyNotFound(f"no study {name!r} in {shown(url)}; studies there: {', '.join(names) or 'none'}{meant}")


def check_free(session: Session, name: str, url: str) -> None:
    """Refuse a name that a new study cannot have.

    Raises:
        StudyError: The name is malformed or taken, perhaps by a study of Optuna's alone.
    """
    if not NAME.fullmatch(name):
        raise StudyError(
            f"{name!r} is not allowed as the name of a study; allowed: up to 100 letters, digits, '.', '_' and '-', "
            "the first one a letter or a digit"
        )
    if session.scalar(select(StudyRow.id).where(StudyRow.name == name)) is not None:
        raise StudyError(f"study {name!r} exists already in {shown(url)}; choose another name")
    if optunas_id(session, name) is not None:
        raise StudyError(f"a study {name!r} of Optuna's exists already in {shown(url)}; choose another name")


def check_idle(session: Session, row: StudyRow) -> None:
    """Refuse a study that a search has.

    Raises:
        StudyError: The message names the process.
    """
    if runners := live_runners(session, row.id):
        who = ", ".join(f"process {runner.pid} on {runner.host}" for runner in runners)
        raise StudyError(f"study {row.name!r} is being searched by {who}; stop it first, or wait until it ends")


def optunas_id(session: Session, name: str) -> int | None:
    """Return the id of a study in Optuna's tables; None where it is not there."""
    return session.scalar(select(StudyModel.study_id).where(StudyModel.study_name == name))


def rows_of(metadata: MetaData, root: Table, condition: ColumnElement[bool]) -> Iterator[Rows]:
    """Yield a table and all that refer to it, directly or not, each with the condition of the rows of one study.

    Args:
        metadata: The tables.
        root: Table of the study's own row.
        condition: Condition of that row.
    """
    found: dict[Table, ColumnElement[bool]] = {root: condition}
    yield root, condition
    for table in metadata.sorted_tables:
        for key in table.foreign_keys:
            parent = key.column.table
            if parent in found and table not in found:
                found[table] = key.parent.in_(select(key.column).where(found[parent]))
                yield table, found[table]


def our_rows(study_id: int) -> list[Rows]:
    """Return the rows of a study in our tables, its runners left out."""
    table = StudyRow.__table__
    assert isinstance(table, Table)
    rows = rows_of(OURS, table, StudyRow.id == study_id)
    return [(one, condition) for one, condition in rows if one is not RunnerRow.__table__]


def optunas_rows(study_id: int) -> list[Rows]:
    """Return the rows of a study in Optuna's tables."""
    table = StudyModel.__table__
    assert isinstance(table, Table)
    return list(rows_of(OPTUNAS, table, table.c.study_id == study_id))


def begin(storage: RDBStorage) -> Session:
    """Return a session whose transaction covers our tables and Optuna's."""
    return Session(storage.engine, expire_on_commit=False)
