"""Candidates that wait in line: a search runs them before all that its sampler proposes, each once.

A place in line is a waiting trial of Optuna with a value for every knob. It is entered in the caller's transaction, so
that what decides about it, such as whether the network is known, holds when it is stored.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import StudyModel, TrialModel, TrialUserAttributeModel
from optuna.trial import TrialState
from sqlalchemy import select
from sqlalchemy.orm import Session

from paredown.spaces.knob import Value
from paredown.studies.result import QUEUED_KEY, RETRIED_AS, RETRY_OF
from paredown.studies.tables import TrialRow

FIXED = "fixed_params"
"""Key among Optuna's system attributes of a waiting trial: the values of its knobs."""


def put_in_line(
    storage: RDBStorage, session: Session, study: optuna.Study, knobs: Mapping[str, Value], queued: Mapping[str, Any]
) -> int:
    """Add a waiting trial, and return its number; the caller commits.

    Args:
        storage: Storage of the session.
        session: Session of the caller's transaction.
        study: The study in Optuna.
        knobs: Value of every knob that leaves a choice.
        queued: What is known of the candidate: its `digest`, and `retry_of`, the number of a failed trial, where it
            runs once more.
    """
    waiting = optuna.trial.create_trial(
        state=TrialState.WAITING, system_attrs={FIXED: dict(knobs)}, user_attrs={QUEUED_KEY: dict(queued)}
    )
    # Optuna counts the trials of a study to number a new one, under this lock.
    StudyModel.find_or_raise_by_id(study._study_id, session, for_update=True)
    return int(storage._get_prepared_new_trial(study._study_id, waiting, session).number)


def line(session: Session, study: optuna.Study) -> dict[int, dict[str, Any]]:
    """Return what was queued by hand and waits, by number."""
    attribute = TrialUserAttributeModel
    query = (
        select(TrialModel.number, attribute.value_json)
        .join(attribute, attribute.trial_id == TrialModel.trial_id)
        .where(TrialModel.study_id == study._study_id, TrialModel.state == TrialState.WAITING)
        .where(attribute.key == QUEUED_KEY)
        .order_by(TrialModel.number)
    )
    return {number: json.loads(text) for number, text in session.execute(query)}


@dataclass(frozen=True)
class Queued:
    """What was queued by hand and became a trial.

    Attributes:
        knobs: Value of every knob that leaves a choice.
        attributes: What `put_in_line` was told of it.
    """

    knobs: Mapping[str, Value]
    attributes: Mapping[str, Any]

    @classmethod
    def of(cls, study: optuna.Study, trial: optuna.Trial) -> "Queued | None":
        """Return what was queued; None for a trial of the sampler's. It is read outside of a transaction of ours."""
        attributes = trial.user_attrs.get(QUEUED_KEY)
        if attributes is None:
            return None
        return cls(study._storage.get_trial(trial._trial_id).system_attrs[FIXED], attributes)

    @property
    def facts(self) -> dict[str, Any]:
        """Facts of the trial."""
        return {RETRY_OF: self.attributes[RETRY_OF]} if RETRY_OF in self.attributes else {}

    def put_back(self, storage: RDBStorage, session: Session, study: optuna.Study, study_id: int) -> None:
        """Put it in line again under a new number, since its trial is spent: on the baseline, or withdrawn."""
        number = put_in_line(storage, session, study, self.knobs, self.attributes)
        if RETRY_OF in self.attributes:
            of = (TrialRow.study_id == study_id, TrialRow.number == self.attributes[RETRY_OF])
            failed = session.scalars(select(TrialRow).where(*of)).one()
            failed.facts = {**failed.facts, RETRIED_AS: number}
