"""Reads the tables of a study."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from optuna.storages import RDBStorage
from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from paredown.evaluators.metrics.measurement import How, Measurement, Metric, Objective, optimised_metrics
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.step_label import StepLabel, labels_from_json
from paredown.studies.database import open_storage
from paredown.studies.front import Model
from paredown.studies.tables import CurveRow, MeasurementRow, StudyRow, TrialRow

KEPT_KEYS = frozenset({"device", "step_labels"})
"""Keys of a configuration that keep their first values: a later run adopts them and need not agree."""


class Records:
    """Reads the trials of one study, and stores its sensitivity map.

    Attributes:
        name: Name of the study.
        config: The parts of the study file that all its runs agree on.
        folder: Folder of models and reports.
        objectives: Metrics that are optimised or limited.
    """

    def __init__(self, storage: RDBStorage, row: StudyRow, objectives: Sequence[Objective]) -> None:
        self.name, self.folder = row.name, row.folder
        self.config: dict[str, Any] = row.config
        self.objectives = tuple(objectives)
        self._id = row.id
        self._storage = storage

    @property
    def optimised_metrics(self) -> tuple[Metric, ...]:
        """The metrics that span the front, in order."""
        return optimised_metrics(self.objectives)

    def models(self) -> list[Model]:
        """Return every finished trial, in order of number."""
        done = self._rows().where(TrialRow.state == "done").order_by(TrialRow.number)
        measured = self.measured()
        with Session(self._storage.engine) as session:
            return [
                Model(
                    trial=row.number,
                    candidate=Candidate.from_json(row.candidate),
                    measurements=measured.get(row.number, {}),
                    artifact=row.artifact,
                    feasible=bool(row.feasible),
                )
                for row in session.scalars(done)
            ]

    def measured(self) -> dict[int, dict[str, Measurement]]:
        """Return the measurements of each trial in any state, by number and metric."""
        query = select(TrialRow.number, MeasurementRow).join_from(TrialRow, MeasurementRow)
        measured: dict[int, dict[str, Measurement]] = {}
        with Session(self._storage.engine) as session:
            for number, m in session.execute(query.where(TrialRow.study_id == self._id)):
                measurement = Measurement(m.metric, m.value, m.spread, cast(How, m.how), m.device)
                measured.setdefault(number, {})[m.metric] = measurement
        return measured

    def baseline(self) -> Model | None:
        """Return the finished reference trial; None while there is none."""
        digest = self.baseline_candidate.digest
        return next((m for m in self.models() if m.candidate.digest == digest), None)

    @property
    def baseline_candidate(self) -> Candidate:
        """The reference, which runs first."""
        return Candidate.from_json(self.config["baseline"])

    def rows(self) -> list[dict[str, Any]]:
        """Return each trial of every state as plain data, in order of number."""
        names = ("number", "parent", "state", "reason", "candidate", "facts", "attempt")
        with Session(self._storage.engine) as session:
            rows = session.scalars(self._rows().order_by(TrialRow.number))
            return [{name: getattr(row, name) for name in names} for row in rows]

    def curves(self) -> dict[int, list[tuple[int, dict[str, float]]]]:
        """Return the metrics after each epoch, by trial number."""
        query = (
            select(TrialRow.number, CurveRow.epoch, CurveRow.metrics)
            .join(CurveRow, CurveRow.trial_id == TrialRow.id)
            .where(TrialRow.study_id == self._id)
            .order_by(TrialRow.number, CurveRow.epoch)
        )
        curves: dict[int, list[tuple[int, dict[str, float]]]] = {}
        with Session(self._storage.engine) as session:
            for number, epoch, metrics in session.execute(query):
                curves.setdefault(number, []).append((epoch, metrics))
        return curves

    def sensitivity(self) -> dict[str, Any] | None:
        """Return the map that `keep_sensitivity` stored last; None where there is none."""
        with Session(self._storage.engine) as session:
            return session.scalar(select(StudyRow.sensitivity).where(StudyRow.id == self._id))

    def keep_sensitivity(self, found: Mapping[str, Any]) -> None:
        """Store a sensitivity map in place of an earlier one."""
        with Session(self._storage.engine) as session:
            session.execute(update(StudyRow).where(StudyRow.id == self._id).values(sensitivity=dict(found)))
            session.commit()

    @property
    def step_labels(self) -> dict[str, StepLabel]:
        """Label of each step of the study in tables, by name; empty for a study of an earlier version."""
        return labels_from_json(self.config.get("step_labels", {}))

    def counts(self) -> dict[str, int]:
        """Return the number of trials in each state; derived trials, which are all done, count as `derived`."""
        with Session(self._storage.engine) as session:
            return _states(session, self._id)

    def _rows(self) -> Select[TrialRow]:
        return select(TrialRow).where(TrialRow.study_id == self._id)

    def _values(self, row_id: int) -> dict[str, float]:
        query = select(MeasurementRow).where(MeasurementRow.trial_id == row_id)
        with Session(self._storage.engine) as session:
            return {m.metric: m.value for m in session.scalars(query)}


def list_studies(url: str) -> list[dict[str, Any]]:
    """Return name, date, folder and number of trials by state of each study in the database."""
    storage = open_storage(url, must_exist=True)
    with Session(storage.engine) as session:
        return [
            {
                "study": study.name,
                "created_at": study.created_at.isoformat(timespec="seconds"),
                "folder": study.folder,
                "trials": _states(session, study.id),
            }
            for study in session.scalars(select(StudyRow).order_by(StudyRow.name))
        ]


def differences(stored: Mapping[str, Any], requested: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return each key whose value differs, with the stored and the requested value; `KEPT_KEYS` are not compared."""
    keys = sorted((set(stored) | set(requested)) - KEPT_KEYS)
    return {k: (stored.get(k), requested.get(k)) for k in keys if stored.get(k) != requested.get(k)}


def _states(session: Session, study_id: int) -> dict[str, int]:
    rows = TrialRow.study_id == study_id
    own = select(TrialRow.state, func.count()).where(rows, TrialRow.parent.is_(None)).group_by(TrialRow.state)
    counts = {state: count for state, count in session.execute(own)}
    derived = session.scalar(select(func.count()).where(rows, TrialRow.parent.is_not(None)))
    return counts | ({"derived": derived} if derived else {})
