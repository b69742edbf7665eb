"""A study: candidates out, results in, everything in one database.

Optuna's trial state is the commit mark. `tell` writes our rows in one transaction, then Optuna's state; a
kill in between leaves a trial that the next opener finishes. A trial whose process died is run again under its
own number.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from paredown.evaluators.measurement import Measurement, Objective
from paredown.spaces.candidate import Candidate
from paredown.spaces.knob import Suggester, Value
from paredown.studies.database import open_storage
from paredown.studies.errors import StudyError, StudyNotFound
from paredown.studies.front import Model
from paredown.studies.process import LEASE_S, is_alive, this_process
from paredown.studies.result import TrialResult
from paredown.studies.tables import CurveRow, DriverRow, MeasurementRow, StudyRow, TrialRow

MAX_ATTEMPTS = 3
"""A trial whose process died so often fails."""


@dataclass(frozen=True)
class Asked:
    """A trial to run.

    Attributes:
        number: Its number in the study.
        candidate: What to build.
    """

    number: int
    candidate: Candidate


class Study:
    """Owns all SQL of one study.

    Attributes:
        name: Its name, also Optuna's.
        objectives: What is optimised and limited.
    """

    def __init__(self, storage: RDBStorage, row: StudyRow, objectives: Sequence[Objective], optuna_study: Any) -> None:
        self.name = row.name
        self.config: dict[str, Any] = row.config
        self.folder = row.folder
        self.created_at = row.created_at
        self.objectives = tuple(objectives)
        self._id = row.id
        self._storage = storage
        self._study: optuna.Study = optuna_study
        self._running: dict[int, tuple[optuna.Trial, int]] = {}
        self._orphans: list[optuna.Trial] = []
        self._digests: dict[str, int] | None = None

    @classmethod
    def create(
        cls, url: str, name: str, config: Mapping[str, Any], objectives: Sequence[Objective], folder: str
    ) -> "Study":
        """Open a study, or make it where it does not exist.

        Raises:
            DatabaseUnusable: The database cannot be used.
            StudyError: The stored configuration differs; the message names the keys.
        """
        storage = open_storage(url)
        optimised = [o for o in objectives if o.optimised]
        with Session(storage.engine) as session:
            row = session.scalar(select(StudyRow).where(StudyRow.name == name))
            if row is not None:
                _compare(name, row.config, config)
                row.folder = folder
            else:
                row = StudyRow(name=name, config=dict(config), folder=folder, version=version("paredown"), created_at=_now())
                session.add(row)
            session.commit()
            session.refresh(row)
            session.expunge(row)
        with _quiet():
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                directions=["maximize" if o.metric.higher_is_better else "minimize" for o in optimised],
                load_if_exists=True,
            )
            study.set_metric_names([o.metric.name for o in optimised])
        return cls(storage, row, objectives, study)

    @classmethod
    def open(cls, url: str, name: str, objectives: Callable[[Mapping[str, Any]], Sequence[Objective]]) -> "Study":
        """Open a study that exists.

        Args:
            url: Of the database.
            name: Of the study.
            objectives: Reads them from the stored configuration.

        Raises:
            DatabaseUnusable: The database cannot be used.
            StudyNotFound: There is no such study; the message names those that exist.
        """
        storage = open_storage(url, must_exist=True)
        with Session(storage.engine, expire_on_commit=False) as session:
            row = session.scalar(select(StudyRow).where(StudyRow.name == name))
            names = list(session.scalars(select(StudyRow.name).order_by(StudyRow.name)))
        if row is None:
            known = ", ".join(names) or "none"
            raise StudyNotFound(f"no study {name!r} in {url}; studies there: {known}")
        with _quiet():
            try:
                study = optuna.load_study(storage=storage, study_name=name)
            except KeyError:
                raise StudyNotFound(f"study {name!r} was deleted from Optuna's tables of {url}") from None
        return cls(storage, row, objectives(row.config), study)

    def use(self, sampler: BaseSampler) -> None:
        """Choose who proposes candidates."""
        self._study.sampler = sampler

    def ask(self, sample: Callable[[Suggester], Candidate], baseline: Candidate) -> Asked | None:
        """Return a trial to run, or None where the sampler proposed a network that is known already.

        Orphans that `recover` found come first. A known network is told at once with the values it had, so
        the sampler learns and nothing runs twice.

        Args:
            sample: Draws a candidate from a sampler.
            baseline: Runs first, whatever the sampler says.
        """
        trial = self._orphans.pop(0) if self._orphans else self._study.ask()
        candidate = sample(trial)
        is_baseline = not self._has_baseline(baseline)
        if is_baseline:
            candidate = baseline
        known = None if is_baseline else self._known().get(candidate.digest, trial.number)
        with Session(self._storage.engine) as session:
            row = session.scalar(self._rows().where(TrialRow.number == trial.number))
            if row is None:
                row = TrialRow(study_id=self._id, number=trial.number, attempt=0, started_at=_now())
                row.digest, row.candidate = candidate.digest, candidate.to_json()
                session.add(row)
            row.state, row.owner, row.lease_until = "running", this_process(), time.time() + LEASE_S
            row.attempt += 1
            candidate = Candidate.from_json(row.candidate)
            attempt = row.attempt
            if known not in (None, trial.number):
                row.state, row.reason = "duplicate", f"the same network as trial {known}"
                row.finished_at = _now()
            session.commit()
            row_id = row.id
        if known is not None and known != trial.number:
            self._tell_as(trial, known)
            return None
        self._known()[candidate.digest] = trial.number
        self._running[trial.number] = (trial, row_id)
        if attempt > MAX_ATTEMPTS:
            self.tell(trial.number, TrialResult("failed", f"its process died {MAX_ATTEMPTS} times"))
            return None
        return Asked(trial.number, candidate)

    def tell(self, number: int, result: TrialResult) -> TrialResult:
        """Record what a trial came to and return it as recorded.

        A measurement that is not finite makes the trial fail.
        """
        trial, row_id = self._running.pop(number)
        result = _finite(result)
        with Session(self._storage.engine) as session:
            row = session.get_one(TrialRow, row_id)
            row.state, row.reason, row.artifact = result.outcome, result.reason, result.artifact
            row.facts, row.finished_at = dict(result.facts), _now()
            values = {name: m.value for name, m in result.measurements.items()}
            if result.outcome == "done":
                row.feasible = all(v <= 0 for v in self._violations(values).values())
            for m in result.measurements.values():
                session.merge(MeasurementRow(trial_id=row_id, **_columns(m)))
            for epoch, metrics in result.curve:
                session.merge(CurveRow(trial_id=row_id, epoch=epoch, metrics=dict(metrics)))
            session.commit()
        self._finish(trial, result.outcome, values)
        return result

    def add_measurement(self, number: int, measurement: Measurement) -> None:
        """Store a value that was measured after the trial, such as the accuracy on the test images."""
        with Session(self._storage.engine) as session:
            row = session.scalars(self._rows().where(TrialRow.number == number)).one()
            session.merge(MeasurementRow(trial_id=row.id, **_columns(measurement)))
            session.commit()

    def renew(self, numbers: Sequence[int]) -> None:
        """Show that this process and its running trials are alive."""
        until = time.time() + LEASE_S
        with Session(self._storage.engine) as session:
            session.merge(DriverRow(study_id=self._id, owner=this_process(), lease_until=until))
            for row in session.scalars(self._rows().where(TrialRow.number.in_(numbers))):
                row.lease_until = until
            session.commit()

    def leave(self) -> None:
        """Say that this process runs no more trials; the next one runs those that are not finished."""
        with Session(self._storage.engine) as session:
            for _, row_id in self._running.values():
                row = session.get_one(TrialRow, row_id)
                row.state, row.owner, row.lease_until = "waiting", "", 0.0
            session.execute(
                delete(DriverRow).where(DriverRow.study_id == self._id, DriverRow.owner == this_process())
            )
            session.commit()
        self._running.clear()

    def recover(self) -> int:
        """Settle the trials of processes that died, and return how many will run again.

        Those whose results are stored are told; the others are given out first by `ask`, under their own
        numbers.
        """
        now = time.time()
        with Session(self._storage.engine, expire_on_commit=False) as session:
            rows = {row.number: row for row in session.scalars(self._rows())}
            drivers = session.scalars(select(DriverRow).where(DriverRow.study_id == self._id)).all()
        others = any(d.owner != this_process() and is_alive(d.owner, d.lease_until, now) for d in drivers)
        ours = {*self._running, *(trial.number for trial in self._orphans)}
        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            row = rows.get(frozen.number)
            if frozen.number in ours or (row is None and others):
                continue
            trial = optuna.trial.Trial(self._study, frozen._trial_id)
            if row is None or row.state == "waiting":
                self._orphans.append(trial)
            elif row.state == "running":
                if not is_alive(row.owner, row.lease_until, now):
                    self._orphans.append(trial)
            elif row.state == "duplicate":
                self._tell_as(trial, self._known()[row.digest])
            else:
                self._finish(trial, row.state, self._values(row.id))
        self._digests = None
        return len(self._orphans)

    def models(self) -> list[Model]:
        """Return every finished trial, in order of number."""
        with Session(self._storage.engine) as session:
            rows = session.scalars(self._rows().where(TrialRow.state == "done").order_by(TrialRow.number)).all()
            measured: dict[int, dict[str, Measurement]] = {row.id: {} for row in rows}
            query = select(MeasurementRow).join(TrialRow).where(TrialRow.study_id == self._id)
            for m in session.scalars(query):
                if m.trial_id in measured:
                    measured[m.trial_id][m.metric] = Measurement(m.metric, m.value, m.spread, m.how, m.device)  # type: ignore[arg-type]
            return [
                Model(r.number, Candidate.from_json(r.candidate), measured[r.id], r.artifact, bool(r.feasible))
                for r in rows
            ]

    def baseline(self, candidate: Candidate | None = None) -> Model | None:
        """Return the finished reference trial, or None while there is none."""
        digest = candidate.digest if candidate else Candidate.from_json(self.config["baseline"]).digest
        return next((m for m in self.models() if m.candidate.digest == digest), None)

    def rows(self) -> list[dict[str, Any]]:
        """Return each trial of every state as plain data, in order of number."""
        with Session(self._storage.engine) as session:
            rows = session.scalars(self._rows().order_by(TrialRow.number)).all()
            names = ("number", "state", "reason", "candidate", "facts", "attempt")
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

    def counts(self) -> dict[str, int]:
        """Return how many trials are in each state."""
        counts: dict[str, int] = {}
        with Session(self._storage.engine) as session:
            for state in session.scalars(select(TrialRow.state).where(TrialRow.study_id == self._id)):
                counts[state] = counts.get(state, 0) + 1
        return counts

    def retry(self, values: Callable[[Candidate], Mapping[str, Value]]) -> int:
        """Queue the failed trials again and return how many they are."""
        with Session(self._storage.engine) as session:
            failed = session.scalars(self._rows().where(TrialRow.state == "failed")).all()
            candidates = [Candidate.from_json(row.candidate) for row in failed]
            for row in failed:
                row.state, row.reason = "retried", f"{row.reason} (queued again under a new number)"
            session.commit()
        self._digests = None
        for candidate in candidates:
            self._study.enqueue_trial(dict(values(candidate)))
        return len(candidates)

    def importances(self, metric: str) -> dict[str, float]:
        """Return the share of each knob in the variance of a metric (PED-ANOVA), largest first.

        Source:
            Watanabe, Bansal, Hutter, PED-ANOVA, IJCAI 2023.
        """
        optimised = [o.metric.name for o in self.objectives if o.optimised]
        index = optimised.index(metric)
        with _quiet():
            return optuna.importance.get_param_importances(self._study, target=lambda t: t.values[index])

    def _finish(self, trial: optuna.Trial, outcome: str, values: Mapping[str, float]) -> None:
        violations = self._violations(values)
        if outcome != "failed":
            for name, violation in violations.items():
                trial.set_constraint(name, violation)
        if outcome == "done":
            optimised = [values[o.metric.name] for o in self.objectives if o.optimised]
            self._study.tell(trial, optimised, skip_if_finished=True)
        else:
            state = TrialState.PRUNED if outcome == "rejected" else TrialState.FAIL
            self._study.tell(trial, state=state, skip_if_finished=True)

    def _tell_as(self, trial: optuna.Trial, number: int) -> None:
        with Session(self._storage.engine) as session:
            row = session.scalars(self._rows().where(TrialRow.number == number)).one()
            state, row_id = row.state, row.id
        if state in {"done", "rejected"}:
            self._finish(trial, state, self._values(row_id))
        else:  # the other one still runs or failed
            self._finish(trial, "failed", {})

    def _violations(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return every limit's violation; one that is not measured counts as just broken."""
        return {
            o.metric.name: o.violation(values[o.metric.name]) if o.metric.name in values else 1.0
            for o in self.objectives
            if o.limit is not None
        }

    def _has_baseline(self, baseline: Candidate) -> bool:
        """Return whether the baseline is done or running; a failed one is tried again."""
        states = ("running", "done")
        with Session(self._storage.engine) as session:
            query = self._rows().where(TrialRow.digest == baseline.digest, TrialRow.state.in_(states))
            return session.scalar(query.limit(1)) is not None

    def _values(self, row_id: int) -> dict[str, float]:
        with Session(self._storage.engine) as session:
            query = select(MeasurementRow).where(MeasurementRow.trial_id == row_id)
            return {m.metric: m.value for m in session.scalars(query)}

    def _known(self) -> dict[str, int]:
        """Digest of each candidate that need not run again, to the number of its trial."""
        if self._digests is None:
            states = ("running", "waiting", "done", "rejected", "failed")
            query = self._rows().where(TrialRow.state.in_(states))
            with Session(self._storage.engine) as session:
                self._digests = {row.digest: row.number for row in session.scalars(query)}
        return self._digests

    def _rows(self) -> Any:
        return select(TrialRow).where(TrialRow.study_id == self._id)


def list_studies(url: str) -> list[dict[str, Any]]:
    """Return name, age and trials by state of each study in the database."""
    storage = open_storage(url, must_exist=True)
    with Session(storage.engine) as session:
        studies = session.scalars(select(StudyRow).order_by(StudyRow.name)).all()
        result = []
        for study in studies:
            states: dict[str, int] = {}
            for state in session.scalars(select(TrialRow.state).where(TrialRow.study_id == study.id)):
                states[state] = states.get(state, 0) + 1
            created = study.created_at.isoformat(timespec="seconds")
            result.append({"study": study.name, "created_at": created, "folder": study.folder, "trials": states})
    return result


def _compare(name: str, stored: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    different = sorted(k for k in set(stored) | set(asked) if stored.get(k) != asked.get(k))
    if different:
        lines = [f"  {k}: stored {stored.get(k)!r}, now {asked.get(k)!r}" for k in different]
        raise StudyError(
            f"study {name!r} exists with another {', '.join(different)}; "
            "name a new study with --study, or ask for the same:\n" + "\n".join(lines)
        )


def _finite(result: TrialResult) -> TrialResult:
    for m in result.measurements.values():
        if not math.isfinite(m.value):
            return TrialResult("failed", f"{m.metric} is {m.value}", {}, "", result.facts, result.curve)
    return result


def _columns(measurement: Measurement) -> dict[str, Any]:
    return measurement.to_json()


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


class _quiet:  # noqa: N801 (reads as a word)
    """Keeps Optuna from announcing what our own display says."""

    def __enter__(self) -> None:
        self._level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)

    def __exit__(self, *error: object) -> None:
        optuna.logging.set_verbosity(self._level)
