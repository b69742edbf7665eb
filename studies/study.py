"""A study, which hands out candidates, receives results, and stores all of it in one database.

Optuna's trial state is the commit mark. `tell` writes our rows in one transaction, then Optuna's state; after a kill in
between, `recover` of any search finishes the trial. A trial whose runner or process died runs again under its own
number.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, cast

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from sqlalchemy import select
from sqlalchemy.orm import Session

from paredown.evaluators.metrics.measurement import Objective, optimised_metrics
from paredown.spaces.candidate import Candidate
from paredown.spaces.knob import Suggester, Value
from paredown.studies import optuna_study
from paredown.studies.agreement import agreed, is_begun
from paredown.studies.checking import checked
from paredown.studies.database import A_SEARCH_WRITES, open_storage
from paredown.studies.database_address import shown
from paredown.studies.errors import StudyNotFound
from paredown.studies.housekeeping.stored_studies import not_found
from paredown.studies.moved_networks import move_network
from paredown.studies.ownership import LEASE_S, Claim, Runner
from paredown.studies.reconnecting import reconnecting
from paredown.studies.result import PARKED, PendingTrial, TrialResult
from paredown.studies.results import Results, now_utc
from paredown.studies.tables import OrphanRow, StudyRow, TrialRow
from paredown.studies.waiting_line import Queued

MAX_DEATHS = 3
"""Number of attempts after which a trial whose own process dies each time fails."""


class Study(Results):
    """A study in the database: it hands out trials and stores their results."""

    def __init__(
        self, storage: RDBStorage, row: StudyRow, objectives: Sequence[Objective], study: optuna.Study, lease_s: float
    ) -> None:
        super().__init__(storage, row, objectives, study, Runner(storage.engine, row.id, lease_s))
        self._claims: dict[int, tuple[optuna.Trial, Claim]] = {}
        self._rowless_since: dict[int, float] = {}
        self._abandoned: list[int] = []
        self._has_baseline = False

    @classmethod
    def create(
        cls,
        url: str,
        name: str,
        config: Mapping[str, Any],
        objectives: Sequence[Objective],
        folder: str,
        lease_s: float = LEASE_S,
    ) -> "Study":
        """Open a study, or make it where it does not exist.

        Args:
            url: Address of the database.
            name: Name of the study.
            config: Configuration that later runs must agree with, as plain data; its key `baseline` holds the
                reference.
            objectives: Metrics that are optimised or limited.
            folder: Folder of models and reports.
            lease_s: Seconds after which others take this process for dead where it does not renew its leases.

        Raises:
            DatabaseUnusable: The database cannot be used.
            StudyError: The stored configuration differs; the message names the keys.
        """
        storage = open_storage(url, why_write=A_SEARCH_WRITES)
        with Session(storage.engine, expire_on_commit=False) as session:
            row = session.scalar(select(StudyRow).where(StudyRow.name == name))
            if row is None:
                row = StudyRow(name=name, config=dict(config), version=version("paredown"), created_at=now_utc())
                session.add(row)
            else:
                asked = agreed(name, row.config, config, is_begun=is_begun(session, row))
                move_network(session, row, asked)
                row.config = asked
            row.folder = folder
            session.commit()
        study = optuna_study.create(storage, name, optimised_metrics(objectives))
        return cls(storage, row, objectives, study, lease_s)

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
            raise not_found(name, names, url)
        try:
            study = optuna_study.load(storage, name)
        except KeyError:
            raise StudyNotFound(f"study {name!r} was deleted from Optuna's tables of {shown(url)}") from None
        return cls(storage, row, objectives(row.config), study, LEASE_S)

    def use(self, sampler: BaseSampler) -> None:
        """Set the sampler that proposes candidates."""
        self._study.sampler = sampler

    def enqueue(self, knobs: Sequence[Mapping[str, Value]]) -> None:
        """Queue values of the knobs as the first trials, in a study that has no trial yet."""
        if optuna_study.is_empty(self._storage.engine, self._study):
            for values in (one for i, one in enumerate(knobs) if one not in knobs[:i]):
                self._study.enqueue_trial(dict(values))

    @reconnecting
    def ask(self, sample: Callable[[Suggester], Candidate], budget: int | None = None) -> PendingTrial | None:
        """Return a trial to run, or None where this proposal needs no run.

        Trials that were given back come first, and the baseline before all others. For a network that is already
        known, the sampler observes its earlier values at once, so that nothing runs twice.

        Args:
            sample: Function that draws a candidate from a sampler.
            budget: Total number of trials; a new one that another search made superfluous meanwhile is withdrawn.
        """
        if (pending := self._given_back()) is not None:
            return pending
        trial = self._taken_over() if self._abandoned else self._study.ask()
        return self._entered(trial, sample, budget)

    @reconnecting
    def withdraw_abandoned(self, sample: Callable[[Suggester], Candidate]) -> bool:
        """Close the trials that a dead search had only begun to propose; return whether another still proposes one."""
        while self._abandoned:
            self._entered(self._taken_over(), sample, budget=0)
        return bool(self._rowless_since)

    @reconnecting
    def tell(self, number: int, result: TrialResult) -> TrialResult | None:
        """Store the result of a trial, and return it as stored; a result that cannot be stored makes the trial fail.

        Each derived trial becomes a trial of its own, unless its network is already known. Where another runner took
        the trial over, because this one seemed dead, the result is kept as an orphan that counts nowhere, and None is
        returned.
        """
        trial, claim = self._claims[number]
        result = checked(result, self.objectives)
        with self.runner.transaction() as session:
            row = claim.row(session)
            told = claim.told(session, result.outcome)  # before the connection broke: this is the second call
            if row is not None:
                self._store(session, row, result)
            elif told is None:
                orphan = OrphanRow(study_id=self._id, number=number, attempt=claim.attempt, runner=self.runner.token)
                orphan.result, orphan.told_at = result.to_json(), now_utc()
                session.add(orphan)
            session.commit()
        row = row or told
        if row is not None:
            self._finish(trial, row)
            if result.derived:
                self._number_derived()
        del self._claims[number]
        return None if row is None else result

    @reconnecting
    def lose(self, number: int) -> bool:
        """Record that the process of a trial died, and return whether the trial is out of this study's hands.

        It then runs again, here or elsewhere; after `MAX_DEATHS` deaths it does not, and its failure is to be told.
        """
        _, claim = self._claims[number]
        with self.runner.transaction() as session:
            row = claim.row(session)
            if row is not None:
                row.deaths += 1
                is_lost = row.deaths >= MAX_DEATHS
                if not is_lost:
                    row.state, row.owner, row.lease_until = "waiting", "", 0.0
            session.commit()
        if row is not None and is_lost:
            return False
        del self._claims[number]
        return True

    @reconnecting
    def leave(self) -> None:
        """Give back the trials of this study that are not finished; the next search runs them."""
        self.runner.release()
        self._claims.clear()

    @reconnecting
    def recover(self) -> int:
        """Take over the trials whose leases have lapsed, and return the number of trials that `ask` hands out again.

        Trials whose results are stored are finished in Optuna. A trial that its search had only begun to propose has
        no row yet: it is abandoned where no other search is alive, or where it stays so for the duration of a lease.
        """
        is_alone = not self.runner.release_lapsed()
        self.runner.release_unclaimed(self._claims)
        self._number_derived()
        now, since, waiting = time.monotonic(), self._rowless_since, 0
        self._rowless_since = {}
        for trial_id, row in optuna_study.running_trials(self._storage.engine, self._study, self._id):
            if row is None:
                self._rowless_since[trial_id] = since.get(trial_id, now)
            elif row.state == "waiting":
                waiting += 1
            elif row.state != "running":
                self._finish(self._trial(trial_id), row)
        lease_s = 0.0 if is_alone else self.runner.lease_s
        self._abandoned = [trial_id for trial_id, first in self._rowless_since.items() if now - first >= lease_s]
        return waiting + len(self._abandoned)

    def importances(self, metric: str) -> dict[str, float]:
        """Return the share of each knob in the variance of an objective, largest first."""
        return optuna_study.importances(self._study, self.optimised_metrics, metric)

    def _given_back(self) -> PendingTrial | None:
        """Return the first trial that another runner or a dead process left, taken over; None without one."""
        with self.runner.transaction() as session:
            waiting = self._rows().where(TrialRow.state == "waiting").order_by(TrialRow.number).limit(1)
            row = session.scalar(waiting)
            if row is None:
                return None
            self.runner.take(session, row)
            session.commit()
        storage = self._study._storage
        trial_id = storage.get_trial_id_from_study_id_trial_number(self._study._study_id, row.number)
        return self._handed_out(self._trial(trial_id), row)

    def _taken_over(self) -> optuna.Trial:
        """Return the next abandoned trial."""
        self._study.get_trials(deepcopy=False)  # Optuna sets parameters only of trials that it has read
        trial_id = self._abandoned.pop(0)
        self._rowless_since.pop(trial_id)
        return self._trial(trial_id)

    def _entered(
        self, trial: optuna.Trial, sample: Callable[[Suggester], Candidate], budget: int | None
    ) -> PendingTrial | None:
        """Give a trial of Optuna its row, and return it where it is to run."""
        candidate = asked = sample(cast(Suggester, trial))
        queued = Queued.of(self._study, trial)
        with self.runner.transaction() as session:
            # All in one transaction, so that a network is unknown to one process alone.
            known = None
            if self._needs_baseline(session):
                candidate = self.baseline_candidate
            else:
                known = self._known(session, candidate.digest)
            if session.scalar(self._rows().where(TrialRow.number == trial.number)) is not None:
                return None  # another search entered the same abandoned trial
            row = TrialRow(study_id=self._id, number=trial.number, attempt=0, started_at=now_utc())
            row.digest, row.candidate, row.facts = candidate.digest, candidate.to_json(), {}
            if known is not None:
                row.state, row.reason = "duplicate", f"the same network as trial {known}"
            elif budget is not None and self._promised(session) >= budget:
                row.state, row.reason = "withdrawn", "the budget was spent before it began"
            else:
                self.runner.take(session, row)
            if queued is not None and (row.state == "withdrawn" or candidate.digest != asked.digest):
                queued.put_back(self._storage, session, self._study, self._id)
            elif queued is not None:
                row.facts = queued.facts
            row.finished_at = None if row.state == "running" else now_utc()
            session.add(row)
            session.commit()
        if row.state == "running":
            return self._handed_out(trial, row)
        self._finish(trial, row)
        return None

    def _handed_out(self, trial: optuna.Trial, row: TrialRow) -> PendingTrial:
        self._claims[row.number] = (trial, Claim(row.id, row.attempt))
        return PendingTrial(row.number, Candidate.from_json(row.candidate))

    def _needs_baseline(self, session: Session) -> bool:
        """Return whether the baseline is neither done nor running; a failed baseline runs again."""
        if not self._has_baseline:
            states = ("running", "waiting", "done", PARKED)
            query = self._rows().where(TrialRow.digest == self.baseline_candidate.digest)
            found = session.scalar(query.where(TrialRow.state.in_(states)).limit(1))
            self._has_baseline = found is not None and found.state == "done"
            return found is None
        return False
