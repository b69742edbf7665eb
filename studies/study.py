"""A study, which hands out candidates, receives results, and stores all of it in one database.

Optuna's trial state is the commit mark. `tell` writes our rows in one transaction, then Optuna's state; after a kill in
between, the next process that opens the study finishes the trial. A trial whose process died runs again under its own
number.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, cast

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import select
from sqlalchemy.orm import Session

from paredown.evaluators.metrics.measurement import Measurement, Objective, optimised_metrics, violations
from paredown.spaces.candidate import Candidate
from paredown.spaces.knob import Suggester, Value
from paredown.studies import derived, leases, optuna_study
from paredown.studies.database import open_storage
from paredown.studies.errors import StudyError, StudyNotFound
from paredown.studies.process import LEASE_S, this_process
from paredown.studies.records import Records, differences
from paredown.studies.result import DERIVED_KEY, STOPPED_KEY, PendingTrial, TrialResult
from paredown.studies.tables import CurveRow, MeasurementRow, StudyRow, TrialRow

MAX_ATTEMPTS = 3
"""Number of attempts after which a trial whose process dies each time fails."""


class Study(Records):
    """A study in the database: it hands out trials and stores their results."""

    def __init__(
        self, storage: RDBStorage, row: StudyRow, objectives: Sequence[Objective], study: optuna.Study
    ) -> None:
        super().__init__(storage, row, objectives)
        self._study = study
        self._running: dict[int, tuple[optuna.Trial, int]] = {}
        self._orphans: list[optuna.Trial] = []
        self._has_baseline = False

    @classmethod
    def create(
        cls, url: str, name: str, config: Mapping[str, Any], objectives: Sequence[Objective], folder: str
    ) -> "Study":
        """Open a study, or make it where it does not exist.

        Args:
            url: Address of the database.
            name: Name of the study.
            config: Configuration that later runs must agree with, as plain data; its key `baseline` holds the
                reference.
            objectives: Metrics that are optimised or limited.
            folder: Folder of models and reports.

        Raises:
            DatabaseUnusable: The database cannot be used.
            StudyError: The stored configuration differs; the message names the keys.
        """
        storage = open_storage(url)
        with Session(storage.engine, expire_on_commit=False) as session:
            row = session.scalar(select(StudyRow).where(StudyRow.name == name))
            if row is None:
                row = StudyRow(name=name, config=dict(config), version=version("paredown"), created_at=_now())
                session.add(row)
            elif different := differences(row.config, config):
                raise StudyError(
                    f"study {name!r} exists with another {', '.join(different)}; name a new study with "
                    "--study, or ask for the same:\n"
                    + "\n".join(f"  {k}: stored {a!r}, now {b!r}" for k, (a, b) in different.items())
                )
            row.folder = folder
            session.commit()
        study = optuna_study.create(storage, name, optimised_metrics(objectives))
        return cls(storage, row, objectives, study)

    @classmethod
    def open(cls, url: str, name: str, objectives: Callable[[Mapping[str, Any]], Sequence[Objective]]) -> "Study":
        """Open a study that exists.

        Args:
            url: Address of the database.
            name: Name of the study.
            objectives: Function that reads the objectives from the stored configuration.

        Raises:
            DatabaseUnusable: The database cannot be used.
            StudyNotFound: There is no such study; the message names those that exist.
        """
        storage = open_storage(url, must_exist=True)
        with Session(storage.engine, expire_on_commit=False) as session:
            row = session.scalar(select(StudyRow).where(StudyRow.name == name))
            names = list(session.scalars(select(StudyRow.name).order_by(StudyRow.name)))
        if row is None:
            raise StudyNotFound(f"no study {name!r} in {url}; studies there: {', '.join(names) or 'none'}")
        try:
            study = optuna_study.load(storage, name)
        except KeyError:
            raise StudyNotFound(f"study {name!r} was deleted from Optuna's tables of {url}") from None
        return cls(storage, row, objectives(row.config), study)

    def use(self, sampler: BaseSampler) -> None:
        """Set the sampler that proposes candidates."""
        self._study.sampler = sampler

    def enqueue(self, knobs: Sequence[Mapping[str, Value]]) -> None:
        """Queue values of the knobs as the first trials, in a study that has no trial yet."""
        if not self._study.get_trials(deepcopy=False):
            for values in (one for i, one in enumerate(knobs) if one not in knobs[:i]):
                self._study.enqueue_trial(dict(values))

    def ask(self, sample: Callable[[Suggester], Candidate]) -> PendingTrial | None:
        """Return a trial to run, or None where this proposal needs no run.

        Orphans that `recover` found come first, and the baseline before all others. For a network that is already
        known, the sampler observes its earlier values at once, so that nothing runs twice.

        Args:
            sample: Function that draws a candidate from a sampler.
        """
        trial = self._orphans.pop(0) if self._orphans else self._study.ask()
        candidate = sample(cast(Suggester, trial))
        with Session(self._storage.engine, expire_on_commit=False) as session:
            # All in one transaction, so that a network is unknown to one process alone.
            known = None
            if self._needs_baseline(session):
                candidate = self.baseline_candidate
            else:
                known = self._known(session, candidate.digest)
            row = session.scalar(self._rows().where(TrialRow.number == trial.number))
            if row is None:
                row = TrialRow(study_id=self._id, number=trial.number, attempt=0, started_at=_now())
                row.digest, row.candidate = candidate.digest, candidate.to_json()
                session.add(row)
                if known is not None:
                    row.state, row.reason = "duplicate", f"the same network as trial {known}"
                    row.finished_at = _now()
            elif row.state != "waiting":
                return None  # another process took the orphan first
            else:
                known = None
            if known is None:
                row.state, row.owner, row.lease_until = "running", this_process(), time.time() + LEASE_S
                row.attempt += 1
            session.commit()
        if known is not None:
            self._tell_as(trial, known)
            return None
        self._running[trial.number] = (trial, row.id)
        if row.attempt > MAX_ATTEMPTS:
            self.tell(trial.number, TrialResult("failed", f"its process died {MAX_ATTEMPTS} times"))
            return None
        return PendingTrial(trial.number, Candidate.from_json(row.candidate))

    def tell(self, number: int, result: TrialResult) -> TrialResult:
        """Store the result of a trial, and return it as stored.

        Each derived trial becomes a trial of its own, unless its network is already known. A measurement that is not
        finite makes the trial fail. A trial that another process took over, because this one seemed dead, is left to
        that process.
        """
        trial, row_id = self._running.pop(number)
        result = result.if_finite()
        values = {name: m.value for name, m in result.measurements.items()}
        with Session(self._storage.engine) as session:
            row = session.get_one(TrialRow, row_id)
            if row.owner != this_process():
                return result
            row.state, row.reason, row.artifact = result.outcome, result.reason, result.artifact
            row.facts, row.finished_at = dict(result.facts), _now()
            if result.outcome == "done":
                row.feasible = all(v <= 0 for v in violations(self.objectives, values).values())
            for m in result.measurements.values():
                session.merge(MeasurementRow(trial_id=row_id, **m.to_json()))
            for epoch, metrics in result.curve:
                session.merge(CurveRow(trial_id=row_id, epoch=epoch, metrics=dict(metrics)))
            for place, one in enumerate(result.derived):
                if self._known(session, one.candidate.digest) is None:
                    derived.store(session, row, one, place, self.objectives)
            session.commit()
        self._finish(trial, result.outcome, values, result.facts)
        for child, child_id in derived.number(self._storage.engine, self._study, self._id) if result.derived else ():
            self._finish(child, "done", self._values(child_id), {})
        return result

    def add_measurement(self, number: int, measurement: Measurement) -> None:
        """Store a value that was measured after the trial, such as the accuracy on the test images."""
        with Session(self._storage.engine) as session:
            row = session.scalars(self._rows().where(TrialRow.number == number)).one()
            session.merge(MeasurementRow(trial_id=row.id, **measurement.to_json()))
            session.commit()

    def renew(self, numbers: Collection[int]) -> None:
        """Show that this process and its running trials are alive."""
        leases.renew(self._storage.engine, self._id, numbers)

    def leave(self) -> None:
        """Release the trials of this process that are not finished; the next process runs them."""
        leases.release(self._storage.engine, self._id)
        self._running.clear()

    def recover(self) -> int:
        """Take over the trials of processes that died, and return the number of those that will run again.

        Trials whose results are stored are finished in Optuna; `ask` hands out the others first, under their own
        numbers.
        """
        others = leases.release_dead(self._storage.engine, self._id)
        derived.number(self._storage.engine, self._study, self._id)
        with Session(self._storage.engine, expire_on_commit=False) as session:
            rows = {row.number: row for row in session.scalars(self._rows())}
        ours = {*self._running, *(trial.number for trial in self._orphans)}
        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            row = rows.get(frozen.number)
            if frozen.number in ours or (row is None and (others or DERIVED_KEY in frozen.user_attrs)):
                continue
            trial = optuna.trial.Trial(self._study, frozen._trial_id)
            if row is None or row.state == "waiting":
                self._orphans.append(trial)
            elif row.state == "duplicate":
                with Session(self._storage.engine) as session:
                    known = self._known(session, row.digest)
                self._tell_as(trial, known)
            elif row.state != "running":
                self._finish(trial, row.state, self._values(row.id), row.facts)
        return len(self._orphans)

    def retry(
        self,
        values: Callable[[Candidate], Mapping[str, Value]],
        is_chosen: Callable[[int, Mapping[str, Any]], bool] = lambda number, facts: True,
    ) -> int:
        """Queue failed trials again, and return their number.

        Args:
            values: Function that returns the value of each knob of a candidate.
            is_chosen: Function of number and facts of a failed trial: whether it is queued.
        """
        with Session(self._storage.engine) as session:
            rows = session.scalars(self._rows().where(TrialRow.state == "failed"))
            failed = [row for row in rows if is_chosen(row.number, row.facts)]
            candidates = [Candidate.from_json(row.candidate) for row in failed]
            for row in failed:
                row.state, row.reason = "retried", f"{row.reason} (queued again under a new number)"
            session.commit()
        for candidate in candidates:
            self._study.enqueue_trial(dict(values(candidate)))
        return len(candidates)

    def importances(self, metric: str) -> dict[str, float]:
        """Return the share of each knob in the variance of an objective, largest first."""
        return optuna_study.importances(self._study, self.optimised_metrics, metric)

    def _finish(self, trial: optuna.Trial, outcome: str, values: Mapping[str, float], facts: Mapping[str, Any]) -> None:
        if outcome != "failed":
            for name, violation in violations(self.objectives, values, untrained=outcome == "stopped").items():
                trial.set_constraint(name, violation)
        if outcome == "stopped":
            trial.set_user_attr(STOPPED_KEY, facts[STOPPED_KEY])
        if outcome == "done":
            optimised = [values[metric.name] for metric in self.optimised_metrics]
            self._study.tell(trial, optimised, skip_if_finished=True)
        else:
            # Rejected trials are PRUNED: samplers ignore FAIL and would try the same region again.
            state = TrialState.FAIL if outcome == "failed" else TrialState.PRUNED
            self._study.tell(trial, state=state, skip_if_finished=True)

    def _tell_as(self, trial: optuna.Trial, number: int | None) -> None:
        with Session(self._storage.engine) as session:
            row = session.scalar(self._rows().where(TrialRow.number == number))
            state, row_id, facts = (row.state, row.id, row.facts) if row else ("retried", 0, {})
        if state in {"done", "rejected", "stopped", derived.UNNUMBERED}:
            self._finish(trial, "done" if state == derived.UNNUMBERED else state, self._values(row_id), facts)
        else:  # the other trial still runs, failed or was queued again
            self._finish(trial, "failed", {}, {})

    def _needs_baseline(self, session: Session) -> bool:
        """Return whether the baseline is neither done nor running; a failed baseline runs again."""
        if not self._has_baseline:
            query = self._rows().where(TrialRow.digest == self.baseline_candidate.digest)
            found = session.scalar(query.where(TrialRow.state.in_(("running", "waiting", "done"))).limit(1))
            self._has_baseline = found is not None and found.state == "done"
            return found is None
        return False

    def _known(self, session: Session, digest: str) -> int | None:
        """Return the number of the latest trial of the same network that need not run again; None without one."""
        states = ("running", "waiting", "done", "rejected", "stopped", "failed", derived.UNNUMBERED)
        query = select(TrialRow.number).where(TrialRow.study_id == self._id, TrialRow.digest == digest)
        return session.scalar(query.where(TrialRow.state.in_(states)).order_by(TrialRow.number.desc()).limit(1))


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
