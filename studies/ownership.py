"""Ownership of trials: who runs a trial, until when, and who may store its result.

A study that runs trials is a runner with a random token. Its trials have a lease by the clock of the database, which it
renews; a trial whose lease has lapsed may be taken over by any other runner. Each start of a trial raises its number of
attempts, and only the latest attempt may store a result: a runner that was suspended and comes back finds a later one.
The lease of a runner whose process is gone for certain, as a process of the same machine may see, counts as lapsed.
"""

import os
import secrets
import socket
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Dialect, Engine, Float, and_, cast, delete, extract, func, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from paredown.studies.errors import DatabaseUnusable
from paredown.studies.reconnecting import reconnecting
from paredown.studies.runner_process import RunnerProcess
from paredown.studies.tables import RunnerRow, StudyRow, TrialRow

LEASE_S = 30.0
"""Seconds after which a runner that has not renewed its leases is taken for dead."""
UNIX_EPOCH = 2440587.5
"""The Julian day on which Unix time begins."""
UNNUMBERED = "unnumbered"
"""State of a derived trial that is not in Optuna yet; its number is negative until then."""


def database_time(dialect: Dialect) -> ColumnElement[float]:
    """Return the SQL expression of the Unix time by the clock of the database."""
    if dialect.name == "sqlite":  # unixepoch('subsec') is NULL before SQLite 3.42
        return (func.julianday("now") - UNIX_EPOCH) * 86400.0
    return cast(extract("epoch", func.clock_timestamp()), Float)


@dataclass(frozen=True)
class Claim:
    """The right to store the result of one attempt of a trial.

    Attributes:
        row_id: Id of the trial's row.
        attempt: Number of the attempt.
    """

    row_id: int
    attempt: int

    def row(self, session: Session) -> TrialRow | None:
        """Return the row of the trial, locked; None where a later attempt has it or it has ended."""
        row = session.scalar(select(TrialRow).where(TrialRow.id == self.row_id).with_for_update())
        is_ours = row is not None and row.attempt == self.attempt and row.state in ("running", "waiting")
        return row if is_ours else None

    def told(self, session: Session, outcome: str) -> TrialRow | None:
        """Return the row of the trial where this attempt has stored its result already; None where it has not."""
        row = session.get_one(TrialRow, self.row_id)
        return row if row.attempt == self.attempt and row.state == outcome else None


def live_runners(session: Session, study_id: int) -> list[RunnerRow]:
    """Return the runners of a study whose leases have not lapsed."""
    alive = RunnerRow.lease_until >= database_time(session.get_bind().dialect)
    return list(session.scalars(select(RunnerRow).where(RunnerRow.study_id == study_id, alive)))


class Runner:
    """A study that runs trials, as other processes see it.

    Attributes:
        token: Random name that no other runner has.
        lease_s: Seconds that its leases last.
        trouble: Why the leases could not be renewed the last time; empty where they were.
    """

    def __init__(self, engine: Engine, study_id: int, lease_s: float = LEASE_S) -> None:
        self.token, self.lease_s, self.trouble = secrets.token_hex(16), lease_s, ""
        self._engine, self._study_id = engine, study_id
        self._now = database_time(engine.dialect)

    @property
    def lease_until(self) -> ColumnElement[float]:
        """The SQL expression of the end of a lease that begins now."""
        return self._now + self.lease_s

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Open a transaction that no other runner of the study is in at the same time; the caller commits it.

        All that changes owners or leases begins so: on PostgreSQL, which locks rows, two runners cannot wait for each
        other.
        """
        with Session(self._engine, expire_on_commit=False) as session:
            session.execute(select(StudyRow.id).where(StudyRow.id == self._study_id).with_for_update())
            yield session

    def take(self, session: Session, row: TrialRow) -> None:
        """Start the next attempt of a trial."""
        self._register(session)
        row.state, row.owner = "running", self.token
        row.lease_until = self.lease_until  # evaluated by the database
        row.attempt += 1

    @reconnecting
    def renew(self) -> None:
        """Show that this runner lives: renew its lease and those of its trials."""
        self._renew()

    def _renew(self) -> None:
        held = TrialRow.state.in_(("running", UNNUMBERED))
        with self.transaction() as session:
            self._register(session)
            session.execute(self._own(held).values(lease_until=self.lease_until))
            session.commit()

    def release(self) -> None:
        """Give back all trials that this runner has; the next runner continues with them."""
        with self.transaction() as session:
            session.execute(self._own(TrialRow.state == "running").values(state="waiting", owner="", lease_until=0.0))
            session.execute(delete(RunnerRow).where(RunnerRow.token == self.token))
            session.commit()

    def release_lapsed(self) -> bool:
        """Give back the trials of runners that are gone or whose leases have lapsed; return whether another lives."""
        trials = update(TrialRow).where(
            TrialRow.study_id == self._study_id,
            TrialRow.owner != self.token,
            TrialRow.lease_until < self._now,
        )
        runners = RunnerRow.study_id == self._study_id
        with self.transaction() as session:
            self._end_leases(session, self._gone(session))
            session.execute(
                trials.where(TrialRow.state == "running")
                .values(state="waiting", owner="", lease_until=0.0)
                .execution_options(synchronize_session=False)
            )
            session.execute(
                trials.where(TrialRow.state == UNNUMBERED)
                .values(owner=self.token, lease_until=self.lease_until)
                .execution_options(synchronize_session=False)
            )
            session.execute(
                delete(RunnerRow)
                .where(runners, RunnerRow.lease_until < self._now)
                .execution_options(synchronize_session=False)
            )
            others = session.scalar(select(func.count()).where(runners, RunnerRow.token != self.token))
            session.commit()
        return bool(others)

    def release_unclaimed(self, claimed: Collection[int]) -> None:
        """Give back the trials that were taken just as the connection broke, so that nobody knows of them.

        Args:
            claimed: Numbers of the trials that this runner knows of.
        """
        unknown = and_(TrialRow.state == "running", TrialRow.number.not_in(claimed))
        with self.transaction() as session:
            session.execute(self._own(unknown).values(state="waiting", owner="", lease_until=0.0))
            session.commit()

    def _gone(self, session: Session) -> list[str]:
        """Return the tokens of the other runners whose processes are gone for certain."""
        here = RunnerProcess.here()
        others = select(RunnerRow).where(RunnerRow.study_id == self._study_id, RunnerRow.token != self.token)
        processes = {row.token: RunnerProcess.from_json(row.process) for row in session.scalars(others)}
        return [token for token, process in processes.items() if process is not None and process.is_gone(here)]

    def _end_leases(self, session: Session, tokens: list[str]) -> None:
        of_trials = TrialRow.study_id == self._study_id, TrialRow.owner.in_(tokens)
        for table, which in ((TrialRow, of_trials), (RunnerRow, (RunnerRow.token.in_(tokens),))):
            session.execute(
                update(table).where(*which).values(lease_until=0.0).execution_options(synchronize_session=False)
            )

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Renew the leases in a thread, every third of their duration, as long as the context lasts."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(self.lease_s / 3):
                try:
                    self._renew()
                    self.trouble = ""
                except (
                    SQLAlchemyError,
                    DatabaseUnusable,
                ) as error:  # such as a locked database: the next beat tries again
                    self.trouble = str(getattr(error, "orig", None) or error)

        self.renew()
        thread = threading.Thread(target=beat, name="paredown-leases", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _register(self, session: Session) -> None:
        row = session.get(RunnerRow, self.token)
        if row is None:  # new, or taken for dead by another runner
            process = RunnerProcess.here()
            row = RunnerRow(token=self.token, study_id=self._study_id, host=socket.gethostname(), pid=os.getpid())
            row.process = None if process is None else process.to_json()
            session.add(row)
        row.lease_until = self.lease_until  # evaluated by the database

    def _own(self, which: ColumnElement[bool]):  # type: ignore[no-untyped-def]
        return (
            update(TrialRow)
            .where(TrialRow.study_id == self._study_id, TrialRow.owner == self.token, which)
            .execution_options(synchronize_session=False)
        )
