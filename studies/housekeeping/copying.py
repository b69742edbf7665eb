"""Copies a study under another name or into another database, with the files of its trials."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.storages._rdb.models import StudyModel, TrialUserAttributeModel
from sqlalchemy import Table, insert, select
from sqlalchemy.orm import Session

from paredown.studies.database import open_storage
from paredown.studies.database_address import shown
from paredown.studies.errors import StudyError
from paredown.studies.housekeeping.stored_studies import (
    Rows,
    check_free,
    locked_row,
    optunas_id,
    optunas_rows,
    our_rows,
)
from paredown.studies.result import DERIVED_KEY
from paredown.studies.tables import StudyRow, TrialRow

FILES = ("trials", "cache", "supernet")
"""What a search needs of a study's folder to go on; models and report are made anew from it."""
Ids = dict[str, dict[int, int]]
"""New id by old id, by name of the table."""
OWNERLESS = {"owner": "", "lease_until": 0.0}


@dataclass(frozen=True)
class Copy:
    """What was copied.

    Attributes:
        trials: Number of trials.
        folder: Folder of the copy.
        has_files: Whether files were found and copied.
    """

    trials: int
    folder: Path
    has_files: bool


def copy_study(url: str, name: str, new: str, to: str, out: Path | None) -> Copy:
    """Copy a study; trials that run are in line in the copy.

    A search may go on meanwhile: what is copied is the study of one moment. The files come before the rows, so that no
    study stands without its files.

    Args:
        url: Address of the database.
        name: Name of the study.
        new: Name of the copy.
        to: Address of the database of the copy; it is made where it does not exist.
        out: Folder of the copy; None for one beside that of the study, named as the copy.

    Raises:
        StudyError: There is no such study, the name of the copy is malformed or taken, or its folder is not empty.
    """
    source = open_storage(url, must_exist=True)
    target = source if to == url else open_storage(to)
    with Session(source.engine) as session:
        from_folder = Path(locked_row(session, name, url).folder)
    with Session(target.engine) as session:
        check_free(session, new, to)
    folder = out if out is not None else from_folder.parent / new
    if folder.is_dir() and any(folder.iterdir()):
        raise StudyError(f"--out: {folder} is not empty; name another folder for the copy")
    with Session(source.engine) as session:
        row = locked_row(session, name, url)
        if (in_optuna := optunas_id(session, name)) is None:
            raise StudyError(f"study {name!r} was deleted from Optuna's tables of {shown(url)}")
        ours, optunas = _read(session, our_rows(row.id)), _read(session, optunas_rows(in_optuna))
    found = [one for one in FILES if (from_folder / one).is_dir()]
    for one in found:
        shutil.copytree(from_folder / one, folder / one)
    with Session(target.engine) as session:
        check_free(session, new, to)
        changed = {StudyRow.__tablename__: {"name": new, "folder": str(folder)}}
        ids = _write(session, ours, changed | {TrialRow.__tablename__: OWNERLESS}, {})
        _write(session, optunas, {StudyModel.__tablename__: {"study_name": new}}, ids)
        session.commit()
    return Copy(len(ids[TrialRow.__tablename__]), folder, bool(found))


def _read(session: Session, rows: list[Rows]) -> list[tuple[Table, list[dict[str, Any]]]]:
    read = []
    for table, condition in rows:
        query = select(table).where(condition).order_by(*table.primary_key.columns)
        read.append((table, [dict(row) for row in session.execute(query).mappings()]))
    return read


def _write(
    session: Session,
    read: list[tuple[Table, list[dict[str, Any]]]],
    changed: Mapping[str, Mapping[str, Any]],
    ours: Ids,
) -> Ids:
    """Insert rows with new ids, and return these.

    Args:
        session: Session of the target.
        read: Rows of each table, those that are referred to first.
        changed: Values that replace those of all rows, by table and column.
        ours: New ids of our tables, to which attributes of Optuna's trials refer.
    """
    ids: Ids = {}
    for table, rows in read:
        own = [column for column in table.primary_key.columns if not column.foreign_keys]
        is_counted = len(own) == 1 and len(table.primary_key.columns) == 1
        old = [row.pop(own[0].name) for row in rows] if is_counted else []
        for row in rows:
            for key in table.foreign_keys:
                row[key.parent.name] = ids[key.column.table.name][row[key.parent.name]]
            row |= changed.get(table.name, {})
            if table.name == TrialRow.__tablename__ and row["state"] == "running":
                row["state"] = "waiting"
            if table.name == TrialUserAttributeModel.__tablename__ and row["key"] == DERIVED_KEY:
                row["value_json"] = json.dumps(ours[TrialRow.__tablename__][json.loads(row["value_json"])])
        if rows and is_counted:
            new = session.scalars(insert(table).returning(own[0], sort_by_parameter_order=True), rows)
            ids[table.name] = dict(zip(old, new, strict=True))
        elif rows:
            session.execute(insert(table), rows)
    return {TrialRow.__tablename__: {}} | ids
