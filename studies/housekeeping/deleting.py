"""Deletes a study from a database, and on demand its files."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from paredown.studies.database import open_storage
from paredown.studies.errors import StudyError
from paredown.studies.housekeeping.stored_studies import check_idle, locked_row, optunas_id, optunas_rows, our_rows
from paredown.studies.outputs import MARK_FILE
from paredown.studies.records import states
from paredown.studies.tables import RunnerRow, StudyRow

WORK = ("trials", "cache", "checkpoints", "supernet", "status", "search.log", "ray.log", MARK_FILE)
"""What searches write into the folder of a study."""
MODELS, REPORT = "models", "report.html"
"""What a search leaves there in the end."""


@dataclass(frozen=True)
class Deletion:
    """What a deletion removes.

    Attributes:
        study: Name of the study.
        counts: Number of its trials by state.
        folder: Its folder.
        files: Files and folders that go with it.
    """

    study: str
    counts: dict[str, int]
    folder: Path
    files: tuple[Path, ...]


def delete_study(
    url: str, name: str, *, artifacts: bool, keep_models: bool, confirmed: Callable[[Deletion], bool]
) -> Deletion | None:
    """Delete a study, and return what was removed; None where that was not confirmed.

    The rows go in one transaction; the files after it, so that no study stands without its files.

    Args:
        url: Address of the database.
        name: Name of the study.
        artifacts: Whether the files of its trials go, too.
        keep_models: Whether exported models and the report stay nevertheless.
        confirmed: Asked before anything is removed.

    Raises:
        StudyError: There is no such study, a search has it, or another study has the same folder.
    """
    storage = open_storage(url, must_exist=True)
    with Session(storage.engine) as session:
        row = locked_row(session, name, url)
        deletion = _deletion(session, row, artifacts, keep_models)
    if not confirmed(deletion):
        return None
    with Session(storage.engine) as session:  # a new one: the database is not locked while a person thinks
        row = locked_row(session, name, url)
        check_idle(session, row)
        in_optuna = optunas_id(session, name)
        rows = our_rows(row.id) + ([] if in_optuna is None else optunas_rows(in_optuna))
        session.execute(delete(RunnerRow).where(RunnerRow.study_id == row.id))
        session.expunge(row)
        for table, condition in reversed(rows):
            session.execute(delete(table).where(condition))
        session.commit()
    for path in deletion.files:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    for folder in (deletion.folder / MODELS, deletion.folder):
        if artifacts and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return deletion


def _deletion(session: Session, row: StudyRow, artifacts: bool, keep_models: bool) -> Deletion:
    check_idle(session, row)
    folder, files = Path(row.folder), []
    if artifacts:
        shared = select(StudyRow.name).where(StudyRow.folder == row.folder, StudyRow.id != row.id)
        if (other := session.scalar(shared.limit(1))) is not None:
            raise StudyError(f"--artifacts: study {other!r} has the same folder {folder}; delete without --artifacts")
        files = [folder / one for one in WORK] + ([] if keep_models else _results(folder))
    return Deletion(row.name, states(session, row.id), folder, tuple(path for path in files if path.exists()))


def _results(folder: Path) -> list[Path]:
    """Return the report and the folders of exported models; what else lies among them stays."""
    return [*(manifest.parent for manifest in sorted(folder.glob(f"{MODELS}/*/manifest.json"))), folder / REPORT]
