"""The storage that the dashboard gets: Optuna's trials, with what our own tables know of them added as they are read.

Nothing of it is stored, so that studies of every age show it. Optuna 5 keeps each constraint under a name of its own,
while the dashboard reads one list of them; only here are they turned into that list.
"""

import copy
import re
import threading
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from paredown.search.dashboard.artifacts import artifact_attributes, readable
from paredown.search.dashboard.review import StudyReview, TrialReview, review
from paredown.search.study_file.objectives import stored_objectives
from paredown.studies.optuna_storage import TRIALS
from paredown.studies.records import Records
from paredown.studies.result import DERIVED_KEY, STOPPED_KEY
from paredown.studies.tables import MeasurementRow, StudyRow, TrialRow

CONSTRAINTS = "constraints"
REPORT_FILE = "report.html"
OURS = (DERIVED_KEY, STOPPED_KEY)
"""User attributes that are no business of a reader's."""
NOTE = re.compile(r"(?P<owner>dashboard:((?P<trial>\d+):)?)note_(ver|str:\d+)")
"""Keys under which the dashboard stores the notes of a study and of its trials."""
UNKNOWN = TrialReview()
Mark = tuple[Any, ...]
"""What changes whenever the review of a study does."""


class ReviewStorage(BaseStorage):
    """Reads studies and refuses all changes but those of notes.

    Args:
        storage: The database, opened to be read.
        notes: The same database, opened to be written; None where notes cannot be changed either.
    """

    def __init__(self, storage: RDBStorage, notes: RDBStorage | None = None) -> None:
        self._storage = storage
        self._optuna = optuna.storages.get_storage(storage)  # it reads finished trials once
        self._notes = notes
        self._reviews: dict[int, tuple[Mark, StudyReview]] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections to the database."""
        for storage in (self._storage, self._notes):
            if storage is not None:
                storage.engine.dispose()

    def review(self, study_id: int) -> StudyReview | None:
        """Return what our tables know of a study; None for a study of Optuna's alone.

        Raises:
            KeyError: There is no such study.
        """
        name = self._optuna.get_study_name_from_id(study_id)
        with self._lock:
            with Session(self._storage.engine, expire_on_commit=False) as session:
                row = session.scalar(select(StudyRow).where(StudyRow.name == name))
                if row is None:
                    return None
                trials = select(TrialRow.state, func.count()).where(TrialRow.study_id == row.id)
                measured = select(func.count()).select_from(MeasurementRow).join(TrialRow)
                states = sorted((state, count) for state, count in session.execute(trials.group_by(TrialRow.state)))
                mark = (*states, session.scalar(measured.where(TrialRow.study_id == row.id)), row.folder)
            known = self._reviews.get(study_id)
            if known is None or known[0] != mark:
                records = Records(self._storage, row, stored_objectives(row.config))
                known = self._reviews[study_id] = (mark, review(records))
            return known[1]

    def folder(self, study_id: int) -> Path | None:
        """Return the folder of a study; None for a study of Optuna's alone.

        Raises:
            KeyError: There is no such study.
        """
        known = self.review(study_id)
        return None if known is None else known.folder

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the id of a study."""
        return self._optuna.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return the name of a study."""
        return self._optuna.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return the direction of each objective."""
        return self._optuna.get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the user attributes of a study."""
        return self._optuna.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the system attributes of a study, with notes, figures and files added."""
        stored = self._optuna.get_study_system_attrs(study_id)
        known = self.review(study_id)
        if known is None:
            return stored
        added: dict[str, Any] = artifact_attributes(study_id, readable(known.folder, [REPORT_FILE]))
        added |= {f"dashboard:plot_data:{name}:0": figure for name, figure in known.figures.items()}
        added |= note_attributes(None, known.note)
        for number, trial_id in self._trial_ids(study_id, known.front).items():
            added |= note_attributes(trial_id, known.trials[number].note)
        changed = {found["owner"] for key in stored if (found := NOTE.fullmatch(key))}
        for owner in changed:  # a note that someone changed there is stored whole
            added = {key: value for key, value in added.items() if not key.startswith(f"{owner}note_")}
        return added | stored

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return all studies as they are stored, the first one first."""
        return sorted(self._optuna.get_all_studies(), key=lambda study: study._study_id)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial with its attributes added."""
        trial = self._optuna.get_trial(trial_id)
        with Session(self._storage.engine) as session:
            study_id = session.scalars(select(TRIALS.c.study_id).where(TRIALS.c.trial_id == trial_id)).one()
        known = self.review(study_id)
        if known is not None and trial.number in known.trials:
            found = known.trials[trial.number]
            found = replace(found, files=readable(known.folder, found.files))  # some may be gone since
            known = replace(known, trials={trial.number: found})
        return reviewed(study_id, trial, known)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return the trials of a study with their attributes added; the caller changes none of them."""
        known = self.review(study_id)
        trials = self._optuna.get_all_trials(study_id, deepcopy=False, states=states)
        return [reviewed(study_id, trial, known) for trial in trials]

    def stored_trials(self, study_id: int) -> list[FrozenTrial]:
        """Return the trials of a study as Optuna keeps them; those that are finished are the same objects each time."""
        return self._optuna.get_all_trials(study_id, deepcopy=False)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Store a part of a note, where notes can be changed."""
        if self._notes is None or not NOTE.fullmatch(key):
            self._refuse()
        self._notes.set_study_system_attr(study_id, key, value)

    def _trial_ids(self, study_id: int, numbers: Sequence[int]) -> dict[int, int]:
        """Return the id in Optuna of trials, by number."""
        query = select(TRIALS.c.number, TRIALS.c.trial_id).where(TRIALS.c.study_id == study_id)
        with Session(self._storage.engine) as session:
            return {number: trial_id for number, trial_id in session.execute(query.where(TRIALS.c.number.in_(numbers)))}

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise PermissionError("a review changes nothing")

    create_new_study = delete_study = set_study_user_attr = create_new_trial = set_trial_param = _refuse
    set_trial_state_values = set_trial_intermediate_value = set_trial_user_attr = set_trial_system_attr = _refuse


def reviewed(study_id: int, trial: FrozenTrial, known: StudyReview | None) -> FrozenTrial:
    """Return a trial of Optuna as the dashboard reads it.

    Args:
        study_id: Id of its study in Optuna.
        trial: The trial, which stays as it is.
        known: What our tables know of the study; None for a study of Optuna's alone.
    """
    found = known.trials.get(trial.number, UNKNOWN) if known is not None else UNKNOWN
    shown = copy.copy(trial)
    shown._user_attrs = {key: value for key, value in trial.user_attrs.items() if key not in OURS} | found.attributes
    shown._system_attrs = {
        key: value for key, value in trial._system_attrs.items() if not key.startswith(f"{CONSTRAINTS}:")
    }
    if trial.constraints:
        shown._system_attrs[CONSTRAINTS] = list(trial.constraints.values())
    shown._system_attrs |= artifact_attributes(study_id, found.files)
    return shown


def note_attributes(trial_id: int | None, text: str) -> dict[str, Any]:
    """Return the attributes of a study that hold the note of a trial, or its own; none for an empty text."""
    owner = "dashboard:" if trial_id is None else f"dashboard:{trial_id}:"
    return {f"{owner}note_ver": 1, f"{owner}note_str:0": text} if text else {}
