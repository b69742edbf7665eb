"""The queue of the service: a durable list of studies in the database, with leases by the database's clock.

A worker claims a job for the duration of a lease, which it renews; where it dies, another one takes the job over. Each
claim raises the job's fencing token, and only the latest claim may change the job: a worker that was suspended finds
that the job is no longer its own. No transaction stays open while a study runs.
"""

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Engine, case, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from paredown.studies.errors import StudyError
from paredown.studies.ownership import LEASE_S, database_time
from paredown.studies.queue.job import Job as Job
from paredown.studies.queue.job import job_of
from paredown.studies.queue.workers import Offer, names_in, stored_names
from paredown.studies.tables import JobRow

PENDING = ("queued", "running")
"""States in which a job still comes to an end by itself."""
STOPS = {"pause": "paused", "cancel": "cancelled"}
"""What may be asked of a running job, and the state that it takes then."""


class JobConflict(StudyError):
    """A job cannot be what a request asks for, because of what it is now."""


class JobQueue:
    """The jobs of a database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._now = database_time(engine.dialect)

    def add(
        self,
        owner: str,
        study: str,
        payload: Mapping[str, Any],
        folder: str,
        *,
        priority: int = 0,
        delay_s: float = 0.0,
        key: str | None = None,
        digest: str = "",
        needs: Collection[str] = (),
    ) -> Job:
        """Put a study into the queue; a request that is repeated with its key finds the job that it made.

        Args:
            owner: Name of the owner.
            study: Name of the study among those of its owner.
            payload: The study file as checked.
            folder: Folder of the study.
            priority: Jobs of one owner run in falling order of it.
            delay_s: Seconds before which it does not start.
            key: Idempotency key of the request.
            digest: SHA-256 of the request.
            needs: Names of the resources that a worker must offer to run it.

        Raises:
            JobConflict: The owner has a study of that name, or used the key for another request.
        """
        with Session(self._engine) as session:
            now = session.scalar(select(self._now)) or 0.0
            row = JobRow(owner=owner, study=study, payload=dict(payload), folder=folder, state="queued")
            row.priority, row.run_after, row.created_at = priority, now + delay_s, now
            row.idempotency_key, row.request_digest, row.needs = key, digest, stored_names(needs)
            session.add(row)
            try:
                session.commit()
            except IntegrityError:
                session.rollback()
                if key is not None and (earlier := self.repeated(owner, key, digest)) is not None:
                    return earlier
                raise JobConflict(
                    f"study {study!r} exists; extend or retry it, delete it, or name another study"
                ) from None
            return job_of(row)

    def repeated(self, owner: str, key: str, digest: str) -> Job | None:
        """Return the job that a request with this key made earlier; None where there is none.

        Raises:
            JobConflict: The key belongs to another request.
        """
        found = self._one(JobRow.owner == owner, JobRow.idempotency_key == key)
        if found is not None and found.request_digest != digest:
            raise JobConflict(f"the idempotency key {key!r} belongs to another request, which made {found.study!r}")
        return found

    def find(self, owner: str, study: str) -> Job | None:
        """Return the job of a study; None where its owner has none of that name."""
        return self._one(JobRow.owner == owner, JobRow.study == study)

    def all(self, owner: str | None = None) -> list[Job]:
        """Return the jobs of an owner, or of all owners, in order of their age."""
        return self._where(*([] if owner is None else [JobRow.owner == owner]))

    def of_owner_or_pending(self, owner: str) -> list[Job]:
        """Return the jobs of an owner and those of all others that wait or run, in order of their age."""
        return self._where((JobRow.owner == owner) | JobRow.state.in_(PENDING))

    def pending(self) -> list[Job]:
        """Return the jobs of all owners that wait or run, in order of their age."""
        return self._where(JobRow.state.in_(PENDING))

    def claim(self, runner: str, lease_s: float = LEASE_S, offers: Offer = frozenset()) -> Job | None:
        """Return the next job, which the worker of that token now has to run; None where none waits that it can run.

        The owner with the fewest running jobs comes first, then the highest priority, then the oldest job.
        """
        self.release_lapsed()
        with Session(self._engine) as session:
            needs = session.scalars(select(JobRow.needs).where(JobRow.state == "queued").distinct()).all()
        running, waiting = aliased(JobRow), aliased(JobRow)
        share = (
            select(func.count())
            .where(running.owner == waiting.owner, running.state == "running")
            .correlate(waiting)
            .scalar_subquery()
        )
        first = (
            select(waiting.id)
            .where(waiting.state == "queued", waiting.run_after <= self._now)
            .where(waiting.needs.in_([one for one in needs if names_in(one) <= offers]))
            .order_by(share, waiting.priority.desc(), waiting.id)
            .limit(1)
            .with_for_update(skip_locked=True, of=waiting)
            .scalar_subquery()
        )
        taken = (
            update(JobRow)
            .where(JobRow.id == first, JobRow.state == "queued")
            .values(
                state="running",
                runner=runner,
                fencing_token=JobRow.fencing_token + 1,
                lease_until=self._now + lease_s,
                started_at=func.coalesce(JobRow.started_at, self._now),
                finished_at=None,
                error="",
            )
            .returning(JobRow)
        )
        with Session(self._engine) as session:
            row = session.scalar(taken.execution_options(synchronize_session=False))
            found = None if row is None else job_of(row)
            session.commit()
        return found

    def renew(self, job: Job, lease_s: float = LEASE_S) -> str | None:
        """Renew the lease of a claimed job; return what is asked of it, or None where it is no longer this claim's."""
        query = self._claimed(job).values(lease_until=self._now + lease_s).returning(JobRow.stop_requested)
        with Session(self._engine) as session:
            asked: str | None = session.scalar(query)
            session.commit()
        return asked

    def finish(self, job: Job, state: str, error: str = "") -> bool:
        """Set how a claimed job has ended; return whether it was still this claim's."""
        ended = {"finished_at": self._now} if state in ("done", "failed", "cancelled") else {}
        return self._change(self._claimed(job), state=state, error=error, **ended)

    def release(self, job: Job, *, died: bool = False, error: str = "") -> bool:
        """Put a claimed job back into the queue; return whether it was still this claim's.

        Args:
            job: The job.
            died: Whether its process died, which counts towards `max_attempts`.
            error: Why it died.
        """
        if not died:
            return self._change(self._claimed(job), state="queued", error=error)
        return self._change(self._claimed(job), **self._after_death(error))

    def release_lapsed(self) -> int:
        """Put the jobs of workers whose leases have lapsed back into the queue, and return their number."""
        lapsed = update(JobRow).where(JobRow.state == "running", JobRow.lease_until < self._now)
        values = self._after_death("its worker showed no sign of life")
        with Session(self._engine) as session:
            ids = session.scalars(lapsed.values(values | FREE).returning(JobRow.id)).all()
            session.commit()
        return len(ids)

    def stop(self, job: Job, what: str) -> Job:
        """Ask a job to pause or to be cancelled: a running one soon is, any other one at once.

        Raises:
            JobConflict: Its state does not allow it.
        """
        allowed = ("queued", "running", "paused") if what == "cancel" else PENDING
        stopped = (
            update(JobRow)
            .where(JobRow.id == job.id, JobRow.state.in_(allowed))
            .values(
                stop_requested=case((JobRow.state == "running", what), else_=""),
                state=case((JobRow.state == "running", JobRow.state), else_=STOPS[what]),
                finished_at=case((JobRow.state == "running", None), else_=self._now),
            )
        )
        return self._changed(job, stopped, what, allowed)

    def requeue(self, job: Job, what: str, allowed: tuple[str, ...], payload: Mapping[str, Any] | None = None) -> Job:
        """Put a job that rests back into the queue, with a fresh count of attempts.

        Args:
            job: The job.
            what: How messages name the request.
            allowed: States from which it may start.
            payload: Another study file.

        Raises:
            JobConflict: Its state is another one.
        """
        changed = {"state": "queued", "attempts": 0, "stop_requested": "", "error": "", "finished_at": None}
        changed |= {} if payload is None else {"payload": dict(payload)}
        started = update(JobRow).where(JobRow.id == job.id, JobRow.state.in_(allowed)).values(changed)
        return self._changed(job, started, what, allowed)

    def remove(self, job: Job) -> None:
        """Delete a job that does not run.

        Raises:
            JobConflict: It runs.
        """
        with Session(self._engine) as session:
            gone = session.scalar(
                delete(JobRow).where(JobRow.id == job.id, JobRow.state != "running").returning(JobRow.id)
            )
            session.commit()
        if gone is None:
            raise JobConflict(f"study {job.study!r} is running; cancel it first")

    def _after_death(self, error: str) -> dict[str, Any]:
        """Return the values of a job whose process or worker has died."""
        is_last = JobRow.attempts + 1 >= JobRow.max_attempts
        asked = JobRow.stop_requested
        state = case(*((asked == what, state) for what, state in STOPS.items()), (is_last, "failed"), else_="queued")
        return {"attempts": JobRow.attempts + 1, "state": state, "error": error}

    def _change(self, query: Any, **values: Any) -> bool:
        with Session(self._engine) as session:
            changed = session.scalar(query.values(values | FREE).returning(JobRow.id))
            session.commit()
        return changed is not None

    def _changed(self, job: Job, query: Any, what: str, allowed: tuple[str, ...]) -> Job:
        with Session(self._engine) as session:
            row = session.scalar(query.execution_options(synchronize_session=False).returning(JobRow))
            found = None if row is None else job_of(row)
            session.commit()
        if found is None:
            now = self._one(JobRow.id == job.id)
            state = "deleted" if now is None else now.state
            raise JobConflict(f"study {job.study!r} is {state}; {what} is possible when it is {' or '.join(allowed)}")
        return found

    def _claimed(self, job: Job) -> Any:
        return (
            update(JobRow)
            .where(JobRow.id == job.id, JobRow.state == "running", JobRow.fencing_token == job.fencing_token)
            .execution_options(synchronize_session=False)
        )

    def _where(self, *which: ColumnElement[bool]) -> list[Job]:
        with Session(self._engine) as session:
            return [job_of(row) for row in session.scalars(select(JobRow).where(*which).order_by(JobRow.id))]

    def _one(self, *which: ColumnElement[bool]) -> Job | None:
        with Session(self._engine) as session:
            row = session.scalar(select(JobRow).where(*which))
            return None if row is None else job_of(row)


FREE = {"runner": "", "lease_until": 0.0, "stop_requested": ""}
"""Values of a job that no worker has."""
