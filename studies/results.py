"""The results of a study's trials: our rows first, then the final state in Optuna, which is the commit mark."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

import optuna
from optuna.storages import RDBStorage
from sqlalchemy import select
from sqlalchemy.orm import Session

from paredown.evaluators.metrics.measurement import How, Measurement, Objective, resolved_objectives, violations
from paredown.spaces.candidate import Candidate
from paredown.spaces.knob import Value
from paredown.studies import derived, optuna_study, waiting_line
from paredown.studies.checking import checked, missing_metric
from paredown.studies.ownership import UNNUMBERED, Runner
from paredown.studies.reconnecting import reconnecting
from paredown.studies.records import Records
from paredown.studies.result import CAUSE, MEASURED_BY, PARKED, RETRIED_AS, RETRY_OF, Cause, TrialResult
from paredown.studies.tables import CurveRow, MeasurementRow, StudyRow, TrialRow

KNOWN = ("running", "waiting", "done", "rejected", "stopped", "failed", PARKED, UNNUMBERED)
"""States of trials whose network need not run again."""
MARKS = {"done": "done", UNNUMBERED: "done", "rejected": "rejected", "stopped": "stopped"}
"""Outcome in Optuna by state of a row. All other states fail there: those of trials that failed or were withdrawn, or
that repeat a trial which still runs or was queued again."""
QUEUED = "queued"


@dataclass(frozen=True)
class Place:
    """Where a candidate stands.

    Attributes:
        number: Number of its trial.
        state: `queued` where it is in line now, `in line` where it was before, otherwise the state of the trial that
            has its network.
    """

    number: int
    state: str


@dataclass(frozen=True)
class Parked:
    """A trial that a device has still to measure.

    Attributes:
        candidate: Its candidate.
        artifact: Folder of its files, relative to the study's folder.
    """

    candidate: Candidate
    artifact: str


class Results(Records):
    """Stores the results of one study, and queues those that failed again.

    Attributes:
        runner: This study as the owner of the trials that it handed out.
    """

    def __init__(
        self, storage: RDBStorage, row: StudyRow, objectives: Sequence[Objective], study: optuna.Study, runner: Runner
    ) -> None:
        super().__init__(storage, row, objectives)
        self.runner = runner
        self._study = study

    def add_measurement(self, number: int, measurement: Measurement) -> None:
        """Store a value that was measured after the trial, such as the accuracy on the test images."""
        with Session(self._storage.engine) as session:
            row = session.scalars(self._rows().where(TrialRow.number == number)).one()
            session.merge(MeasurementRow(trial_id=row.id, **measurement.to_json()))
            session.commit()

    def retry(
        self,
        values: Callable[[Candidate], Mapping[str, Value]],
        is_chosen: Callable[[int, Mapping[str, Any]], bool] = lambda number, facts: True,
    ) -> dict[int, int]:
        """Queue failed trials again under new numbers, and return the new number of each.

        Args:
            values: Function that returns the value of each knob of a candidate.
            is_chosen: Function of number and facts of a failed trial: whether it is queued.
        """
        with self.runner.transaction() as session:
            rows = session.scalars(self._rows().where(TrialRow.state == "failed").order_by(TrialRow.number))
            failed = [row for row in rows if is_chosen(row.number, row.facts)]
            for row in failed:
                knobs = values(Candidate.from_json(row.candidate))
                queued = {"digest": row.digest, RETRY_OF: row.number}
                number = waiting_line.put_in_line(self._storage, session, self._study, knobs, queued)
                row.state, row.facts = "retried", {**row.facts, RETRIED_AS: number}
            session.commit()
        return {row.number: row.facts[RETRIED_AS] for row in failed}

    def parked(self) -> dict[int, Parked]:
        """Return the trials that a device has still to measure, by number, in order."""
        query = self._rows().where(TrialRow.state == PARKED).order_by(TrialRow.number)
        with Session(self._storage.engine) as session:
            return {
                row.number: Parked(Candidate.from_json(row.candidate), row.artifact) for row in session.scalars(query)
            }

    def park(self, number: int, reason: str) -> TrialResult | None:
        """Store why a parked trial waits, and return it as stored; None where it does not wait any longer."""
        with self.runner.transaction() as session:
            if (row := self._parked_row(session, number)) is None:
                return None
            row.reason = reason
            session.commit()
            return self._stored(session, row)

    @reconnecting
    def complete(self, number: int, measured: Mapping[str, Measurement], node: str = "") -> TrialResult | None:
        """Store what a device has measured of a parked trial, and return the result as stored.

        Args:
            number: Number of the trial.
            measured: Measurements by metric.
            node: Where they were made.

        Returns:
            The result; None where the trial does not wait any longer, since another search was faster.
        """

        def measured_now(parked: TrialResult) -> TrialResult:
            notes = parked.facts.get("notes", {}) | {name: m.note for name, m in measured.items() if m.note}
            facts = {**parked.facts, "notes": notes, MEASURED_BY: node}
            return replace(
                parked, outcome="done", reason="", measurements={**parked.measurements, **measured}, facts=facts
            )

        return self._ended(number, measured_now)

    @reconnecting
    def refuse(self, number: int, reason: str, cause: Cause) -> TrialResult | None:
        """Store that a parked trial cannot be measured, and return the result as stored; None as `complete`."""
        return self._ended(
            number,
            lambda parked: TrialResult(
                "failed", reason, {}, "", {**parked.facts, CAUSE: cause, MEASURED_BY: ""}, parked.curve
            ),
        )

    def _ended(self, number: int, ending: Callable[[TrialResult], TrialResult]) -> TrialResult | None:
        objectives = self.objectives  # which reads the baseline
        with self.runner.transaction() as session:
            if (row := self._parked_row(session, number)) is None:
                return None
            result = checked(ending(self._stored(session, row)), objectives)
            trained_at = row.finished_at
            self._store(session, row, result)
            row.finished_at = trained_at
            session.commit()
        storage = self._study._storage
        trial_id = storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number)
        self._finish(self._trial(trial_id), row)
        return result

    def _parked_row(self, session: Session, number: int) -> TrialRow | None:
        query = self._rows().where(TrialRow.number == number, TrialRow.state == PARKED)
        return session.scalar(query.with_for_update())

    def _stored(self, session: Session, row: TrialRow) -> TrialResult:
        """Return the result of a parked trial."""
        values = session.scalars(select(MeasurementRow).where(MeasurementRow.trial_id == row.id))
        measured = {m.metric: Measurement(m.metric, m.value, m.spread, cast(How, m.how), m.device) for m in values}
        curve = session.scalars(select(CurveRow).where(CurveRow.trial_id == row.id).order_by(CurveRow.epoch))
        epochs = tuple((one.epoch, one.metrics) for one in curve)
        return TrialResult(PARKED, row.reason, measured, row.artifact, row.facts, epochs)

    def put_in_line(self, candidate: Candidate, knobs: Mapping[str, Value]) -> Place:
        """Queue a candidate before all that the sampler proposes, unless its network is known or in line already.

        Args:
            candidate: The candidate.
            knobs: Value of every knob that leaves a choice.
        """
        with self.runner.transaction() as session:
            known = self._rows().where(TrialRow.digest == candidate.digest, TrialRow.state.in_(KNOWN))
            if (row := session.scalar(known.order_by(TrialRow.number.desc()).limit(1))) is not None:
                return Place(row.number, row.state)
            for number, queued in waiting_line.line(session, self._study).items():
                if queued["digest"] == candidate.digest:
                    return Place(number, "in line")
            queued = {"digest": candidate.digest}
            number = waiting_line.put_in_line(self._storage, session, self._study, knobs, queued)
            session.commit()
        return Place(number, QUEUED)

    def line(self) -> list[int]:
        """Return the numbers of the trials that were queued by hand and wait."""
        with Session(self._storage.engine) as session:
            return list(waiting_line.line(session, self._study))

    def _trial(self, trial_id: int) -> optuna.Trial:
        return optuna.trial.Trial(self._study, trial_id)

    def _store(self, session: Session, row: TrialRow, result: TrialResult) -> None:
        values = {name: m.value for name, m in result.measurements.items()}
        row.state, row.reason, row.artifact = result.outcome, result.reason, result.artifact
        origin = {RETRY_OF: row.facts[RETRY_OF]} if RETRY_OF in row.facts else {}
        row.facts, row.finished_at = {**result.facts, **origin}, now_utc()
        objectives = self._objectives  # as `tell` has read them: the transaction admits no other one
        if result.outcome == "done":
            if row.digest == self.baseline_candidate.digest:
                objectives = resolved_objectives(objectives, values)
            row.feasible = all(v <= 0 for v in violations(objectives, values).values())
        for m in result.measurements.values():
            session.merge(MeasurementRow(trial_id=row.id, **m.to_json()))
        for epoch, metrics in result.curve:
            session.merge(CurveRow(trial_id=row.id, epoch=epoch, metrics=dict(metrics)))
        for place, one in enumerate(result.derived):
            if self._known(session, one.candidate.digest) is None:
                derived.store(session, self.runner, row, one, place, objectives)

    def _number_derived(self) -> None:
        for child, row_id in derived.number(self._storage.engine, self._study, self.runner, self._id):
            optuna_study.finish(self._study, child, self.objectives, "done", self._values(row_id), {})

    def _finish(self, trial: optuna.Trial, row: TrialRow) -> None:
        """Give a trial the final state in Optuna that its row asks for; one that is parked runs there."""
        if row.state == PARKED:
            return
        source: TrialRow | None = row
        if row.state == "duplicate":
            with Session(self._storage.engine, expire_on_commit=False) as session:
                known = self._known(session, row.digest)
                source = session.scalar(self._rows().where(TrialRow.number == known))
        if source is None:
            source = TrialRow(id=0, state="retried", facts={})
        values = self._values(source.id)
        outcome = MARKS.get(source.state, "failed")
        if outcome == "done" and (missing := missing_metric(values, self.objectives)) is not None:
            self._fail_stored(source, f"its stored result has no {missing}")
            outcome = "failed"
        optuna_study.finish(self._study, trial, self.objectives, outcome, values, source.facts)

    def _fail_stored(self, row: TrialRow, reason: str) -> None:
        """Mend the row of a version that stored results without looking at them."""
        with self.runner.transaction() as session:
            broken = session.get_one(TrialRow, row.id)
            broken.state, broken.reason, broken.feasible = "failed", reason, None
            session.commit()

    def _known(self, session: Session, digest: str) -> int | None:
        """Return the number of the latest trial of the same network that need not run again; None without one."""
        query = select(TrialRow.number).where(TrialRow.study_id == self._id, TrialRow.digest == digest)
        return session.scalar(query.where(TrialRow.state.in_(KNOWN)).order_by(TrialRow.number.desc()).limit(1))


def now_utc() -> datetime:
    """Return the time as the tables keep it: UTC, without a time zone."""
    return datetime.now(UTC).replace(tzinfo=None)
