"""Renames a study."""

from optuna.storages._rdb.models import StudyModel
from sqlalchemy import update
from sqlalchemy.orm import Session

from paredown.studies.database import open_storage
from paredown.studies.errors import StudyError
from paredown.studies.housekeeping.stored_studies import check_free, check_idle, locked_row


def rename_study(url: str, old: str, new: str) -> str:
    """Rename a study in our tables and Optuna's at once, and return its folder, which keeps its name.

    Raises:
        StudyError: There is no such study, a search has it, or the new name is malformed or taken.
    """
    storage = open_storage(url, must_exist=True)
    with Session(storage.engine) as session:
        row = locked_row(session, old, url)
        if new == old:
            raise StudyError(f"study {old!r} has that name already")
        check_free(session, new, url)
        check_idle(session, row)
        row.name, folder = new, row.folder
        session.execute(update(StudyModel).where(StudyModel.study_name == old).values(study_name=new))
        session.commit()
    return folder
