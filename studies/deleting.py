"""Deletes a study from the database, Optuna's tables included."""

import contextlib

from optuna.storages import RDBStorage
from sqlalchemy import delete
from sqlalchemy.orm import Session

from paredown.studies.tables import StudyRow


def delete_study(storage: RDBStorage, name: str) -> None:
    """Delete a study with its trials; one that is gone already is no error, so that a deletion can be repeated."""
    with contextlib.suppress(KeyError):
        storage.delete_study(storage.get_study_id_from_name(name))
    with Session(storage.engine) as session:
        session.execute(delete(StudyRow).where(StudyRow.name == name))
        session.commit()
