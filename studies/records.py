"""Reads the tables of a study."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, cast

from optuna.storages import RDBStorage
from sqlalchemy import ColumnElement, Select, func, select, update
from sqlalchemy.orm import Session

from paredown.evaluators.devices.costs import refused_format
from paredown.evaluators.devices.profile import DeviceProfile
from paredown.evaluators.metrics.measurement import (
    How,
    Measurement,
    Metric,
    Objective,
    optimised_metrics,
    resolved_objectives,
)
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.step_label import StepLabel, labels_from_json
from paredown.studies.collector import collector_paused
from paredown.studies.database import open_storage
from paredown.studies.errors import StudyError
from paredown.studies.front import Model
from paredown.studies.reconnecting import reconnecting
from paredown.studies.result import FINISHED, TRAINED
from paredown.studies.tables import CurveRow, MeasurementRow, OrphanRow, StudyRow, TrialRow


class Records:
    """Reads the trials of one study, and stores its sensitivity map.

    Attributes:
        name: Name of the study.
        config: The parts of the study file that all its runs agree on.
        folder: Folder of models and reports.
        made_at: Moment at which it was made, by which its copies know it.
    """

    def __init__(self, storage: RDBStorage, row: StudyRow, objectives: Sequence[Objective]) -> None:
        self.name, self.folder, self.made_at = row.name, row.folder, row.created_at.isoformat()
        self.config: dict[str, Any] = row.config
        self._objectives = tuple(objectives)
        self._id = row.id
        self._storage = storage

    @property
    def exists(self) -> bool:
        """Whether it is still in the database, also in Optuna's tables."""
        with Session(self._storage.engine) as session:
            is_ours = session.scalar(select(StudyRow.id).where(StudyRow.id == self._id)) is not None
        return is_ours and any(one.study_name == self.name for one in self._storage.get_all_studies())

    @property
    def is_read_only(self) -> bool:
        """Whether its database can only be looked at."""
        return self._storage.engine.url.query.get("mode") == "ro"

    @property
    def optimised_metrics(self) -> tuple[Metric, ...]:
        """The metrics that span the front, in order."""
        return optimised_metrics(self._objectives)

    @property
    def objective_names(self) -> tuple[str, ...]:
        """Names of the metrics that are optimised or limited."""
        return tuple(objective.metric.name for objective in self._objectives)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """Metrics that are optimised or limited; limits that follow from the baseline are numbers once it is done."""
        is_open = any(o.is_limited and o.limit is None for o in self._objectives)
        if is_open and (baseline := self.baseline()) is not None:
            self._objectives = resolved_objectives(self._objectives, baseline.values)
        return self._objectives

    @property
    def limits(self) -> dict[str, float]:
        """The worst acceptable value of each limited metric, as far as it is known."""
        return {o.metric.name: o.limit for o in self.objectives if o.limit is not None}

    def models(self) -> list[Model]:
        """Return every finished trial that has all optimised metrics, in order of number."""
        return self._models()

    def baseline(self) -> Model | None:
        """Return the finished reference trial, or None while there is none."""
        return next(iter(self._models(TrialRow.digest == self.baseline_candidate.digest)), None)

    def measured(self) -> dict[int, dict[str, Measurement]]:
        """Return what is measured of each trial, also of those that are not done, by number and metric."""
        return self._measured()

    @reconnecting
    def _models(self, *which: ColumnElement[bool]) -> list[Model]:
        # Columns in place of rows as objects: ten thousand trials are read in a fraction of the time.
        columns = (TrialRow.number, TrialRow.candidate, TrialRow.artifact, TrialRow.feasible)
        done = (TrialRow.study_id == self._id, TrialRow.state == "done", *which)
        optimised = {metric.name for metric in self.optimised_metrics}
        with collector_paused():
            measured = self._measured(TrialRow.state == "done", *which)
            with Session(self._storage.engine) as session:
                rows = session.execute(select(*columns).where(*done).order_by(TrialRow.number)).all()
            models = [
                Model(number, Candidate.from_json(candidate), measured[number], artifact, bool(feasible))
                for number, candidate, artifact, feasible in rows
                if measured.get(number, {}).keys() >= optimised  # an earlier version stored some without
            ]
        # The baseline is the reference, also where the device of the study does not execute it.
        refused = [(model, self._refusal(model)) for model in models]
        return [replace(model, feasible=False, refusal=reason) if reason else model for model, reason in refused]

    def _refusal(self, model: Model) -> str:
        """Return why the device of the study cannot execute a model; empty where it can or none is named."""
        return "" if self.target is None else refused_format(model.candidate, self.target)

    @cached_property
    def target(self) -> DeviceProfile | None:
        """The device for which models are searched; None where the study names none."""
        stored = self.config.get("target")
        return None if stored is None else DeviceProfile.of_stored(stored)

    def _measured(self, *which: ColumnElement[bool]) -> dict[int, dict[str, Measurement]]:
        table = MeasurementRow
        columns = (TrialRow.number, table.metric, table.value, table.spread, table.how, table.device)
        query = select(*columns).join_from(TrialRow, table).where(TrialRow.study_id == self._id, *which)
        measured: dict[int, dict[str, Measurement]] = {}
        with Session(self._storage.engine) as session:
            for number, metric, value, spread, how, device in session.execute(query).all():
                measurement = Measurement(metric, value, spread, cast(How, how), device)
                measured.setdefault(number, {})[metric] = measurement
        return measured

    @property
    def baseline_candidate(self) -> Candidate:
        """The reference, which runs first."""
        return Candidate.from_json(self.config["baseline"])

    def candidate(self, number: int, where: str) -> Candidate:
        """Return the candidate of a trial of any state.

        Args:
            number: Number of the trial.
            where: What the message names, such as an option.

        Raises:
            StudyError: There is no such trial.
        """
        query = self._rows().with_only_columns(TrialRow.candidate).where(TrialRow.number == number)
        with Session(self._storage.engine) as session:
            if (found := session.scalar(query)) is not None:
                return Candidate.from_json(found)
            last = session.scalar(select(func.max(TrialRow.number)).where(TrialRow.study_id == self._id))
        trials = "it has none yet" if last is None else f"its trials are 0 to {last}"
        raise StudyError(f"{where} {number}: study {self.name!r} has no such trial; {trials}")

    def rows(self) -> list[dict[str, Any]]:
        """Return each trial of every state as plain data, in order of number."""
        names = ("number", "parent", "state", "reason", "candidate", "facts", "attempt")
        columns = [getattr(TrialRow, name) for name in names]
        query = select(*columns).where(TrialRow.study_id == self._id).order_by(TrialRow.number)
        with Session(self._storage.engine) as session:
            return [dict(zip(names, row, strict=True)) for row in session.execute(query)]

    def orphans(self) -> list[dict[str, Any]]:
        """Return the results that came after another runner had taken their trial over, as plain data."""
        query = select(OrphanRow).where(OrphanRow.study_id == self._id).order_by(OrphanRow.id)
        with Session(self._storage.engine) as session:
            rows = session.scalars(query)
            return [{"number": row.number, "attempt": row.attempt, "result": row.result} for row in rows]

    def curves(self, numbers: Collection[int] | None = None) -> dict[int, list[tuple[int, dict[str, float]]]]:
        """Return the metrics after each epoch by trial, of all trials or of some numbers."""
        query = (
            select(TrialRow.number, CurveRow.epoch, CurveRow.metrics)
            .join(CurveRow, CurveRow.trial_id == TrialRow.id)
            .where(TrialRow.study_id == self._id)
            .order_by(TrialRow.number, CurveRow.epoch)
        )
        if numbers is not None:
            query = query.where(TrialRow.number.in_(numbers))
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

    @reconnecting
    def counts(self) -> dict[str, int]:
        """Return the number of trials in each state; derived trials, which are all done, count as `derived`."""
        with Session(self._storage.engine) as session:
            return states(session, self._id)

    def artifacts(self) -> dict[int, str]:
        """Return the folder of each finished trial's files, relative to the study's folder, by number."""
        done = (TrialRow.study_id == self._id, TrialRow.state == "done", TrialRow.artifact != "")
        with Session(self._storage.engine) as session:
            rows = session.execute(select(TrialRow.number, TrialRow.artifact).where(*done).order_by(TrialRow.number))
            return {number: artifact for number, artifact in rows}

    @property
    def address(self) -> str:
        """Address of its database, without its password."""
        return str(self._storage.engine.url)

    def _promised(self, session: Session) -> int:
        """Return the number of trials that count towards the budget or will."""
        counted = TrialRow.state.in_((*TRAINED, "running", "waiting"))
        query = select(func.count()).where(TrialRow.study_id == self._id, TrialRow.parent.is_(None), counted)
        return session.scalar(query) or 0

    def numbers(self, state: str) -> list[int]:
        """Return the numbers of all trials in a state, in order."""
        query = self._rows().with_only_columns(TrialRow.number).where(TrialRow.state == state)
        with Session(self._storage.engine) as session:
            return list(session.scalars(query.order_by(TrialRow.number)))

    @reconnecting
    def finished_after(self, number: int) -> int:
        """Return how many trials that were trained and count towards the budget have a higher number."""
        counted = (TrialRow.study_id == self._id, TrialRow.state.in_(FINISHED), TrialRow.parent.is_(None))
        with Session(self._storage.engine) as session:
            return session.scalar(select(func.count()).where(*counted, TrialRow.number > number)) or 0

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
                "trials": states(session, study.id),
            }
            for study in session.scalars(select(StudyRow).order_by(StudyRow.name))
        ]


def states(session: Session, study_id: int) -> dict[str, int]:
    """Return the number of trials of a study in each state; derived trials, which are all done, count as `derived`."""
    rows = TrialRow.study_id == study_id
    own = select(TrialRow.state, func.count()).where(rows, TrialRow.parent.is_(None)).group_by(TrialRow.state)
    counts = {state: count for state, count in session.execute(own)}
    derived = session.scalar(select(func.count()).where(rows, TrialRow.parent.is_not(None)))
    return counts | ({"derived": derived} if derived else {})
