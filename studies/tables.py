"""Our tables, which stand beside Optuna's in one database.

No foreign key refers to Optuna's tables, since its dashboard may delete a study there.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Float, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

PREFIX = "paredown_"
VERSION_TABLE = PREFIX + "alembic_version"
"""Where Alembic keeps the revision of our tables, beside that of Optuna's."""


class Table(DeclarativeBase):
    """Base class of the tables."""


class StudyRow(Table):
    """A study and its configuration.

    Attributes:
        config: The parts of the study file that later runs must agree with.
        folder: Folder of models and reports.
        sensitivity: The latest sensitivity map, as JSON; None before the first one.
    """

    __tablename__ = PREFIX + "studies"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    folder: Mapped[str] = mapped_column(Text)
    sensitivity: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    version: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime] = mapped_column(DateTime)


class TrialRow(Table):
    """A trial with its candidate and its result.

    Attributes:
        number: Number of the trial in Optuna; negative while a derived trial has none yet.
        parent: Number of the trial from which it was derived; None for a trial with its own training.
        state: State: running, waiting (it was given back and runs again), done, rejected, stopped, failed, parked
            (a device has still to measure it), duplicate, retried, withdrawn (the budget was spent before it began) or
            unnumbered.
        reason: Why it is not done; empty where it is.
        feasible: Whether it keeps every limit; None until it is done.
        artifact: Folder of its files, relative to the study's folder.
        facts: Seconds of each stage, measurements before training, and notes.
        owner: Token of the runner that has it; empty where none has.
        lease_until: Unix time, by the clock of the database, after which another runner may take the trial over.
        attempt: Number of times that the trial was started. Only the latest attempt may store a result.
        deaths: Number of attempts whose own process died.
    """

    __tablename__ = PREFIX + "trials"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id, ondelete="CASCADE"))
    number: Mapped[int] = mapped_column(Integer)
    parent: Mapped[int | None] = mapped_column(Integer, default=None)
    digest: Mapped[str] = mapped_column(String(64))
    candidate: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text, default="")
    feasible: Mapped[bool | None] = mapped_column(default=None)
    artifact: Mapped[str] = mapped_column(Text, default="")
    facts: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    owner: Mapped[str] = mapped_column(String(255), default="")
    lease_until: Mapped[float] = mapped_column(Float, default=0.0)
    attempt: Mapped[int] = mapped_column(Integer, default=1)
    deaths: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    started_at: Mapped[datetime] = mapped_column(DateTime)
    finished_at: Mapped[datetime | None] = mapped_column(DateTime, default=None)
    __table_args__ = (
        UniqueConstraint("study_id", "number"),
        Index("ix_paredown_trials_digest", "study_id", "digest"),
        Index("ix_paredown_trials_state", "study_id", "state", "parent"),
    )


class MeasurementRow(Table):
    """A measured value of a trial."""

    __tablename__ = PREFIX + "measurements"
    trial_id: Mapped[int] = mapped_column(ForeignKey(TrialRow.id, ondelete="CASCADE"), primary_key=True)
    metric: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[float] = mapped_column(Float)
    spread: Mapped[float] = mapped_column(Float)
    how: Mapped[str] = mapped_column(String(16))
    device: Mapped[str] = mapped_column(Text, default="")


class CurveRow(Table):
    """Metrics of a trial after an epoch."""

    __tablename__ = PREFIX + "curves"
    trial_id: Mapped[int] = mapped_column(ForeignKey(TrialRow.id, ondelete="CASCADE"), primary_key=True)
    epoch: Mapped[int] = mapped_column(Integer, primary_key=True)
    metrics: Mapped[dict[str, float]] = mapped_column(JSON)


class RunnerRow(Table):
    """An opened study that runs trials; its lease shows that it lives.

    Attributes:
        token: Random name that no other runner has.
        lease_until: Unix time, by the clock of the database, after which the runner is taken for dead.
        host: Name of its machine, for people only.
        pid: Number of its process there, for people only.
        process: The process for other processes of its machine; see `RunnerProcess`. None where it cannot be told.
    """

    __tablename__ = PREFIX + "runners"
    token: Mapped[str] = mapped_column(String(32), primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id, ondelete="CASCADE"), index=True)
    lease_until: Mapped[float] = mapped_column(Float)
    host: Mapped[str] = mapped_column(Text)
    pid: Mapped[int] = mapped_column(Integer)
    process: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)


class OrphanRow(Table):
    """A result that came after another runner had taken its trial over; it counts nowhere.

    Attributes:
        number: Number of the trial.
        attempt: Attempt that came to this result.
        runner: Token of the runner that had the attempt.
        result: The result as plain data.
    """

    __tablename__ = PREFIX + "orphans"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id, ondelete="CASCADE"), index=True)
    number: Mapped[int] = mapped_column(Integer)
    attempt: Mapped[int] = mapped_column(Integer)
    runner: Mapped[str] = mapped_column(String(32))
    result: Mapped[dict[str, Any]] = mapped_column(JSON)
    told_at: Mapped[datetime] = mapped_column(DateTime)


class JobRow(Table):
    """A study in the queue of the service.

    Attributes:
        owner: Name of the user to whom the study belongs.
        study: Name of the study among those of its owner.
        payload: The study file as checked, with absolute paths.
        folder: Folder of trials, models, log and report.
        needs: Names of the resources that a worker must offer to run it, one on each line.
        state: State: queued, running, paused, cancelled, failed or done.
        priority: Jobs of one owner run in falling order of it.
        run_after: Unix time, by the clock of the database, before which it does not start.
        attempts: Number of runs that ended by the death of their process.
        max_attempts: Number of such runs after which it fails.
        runner: Token of the worker that runs it; empty where none does.
        fencing_token: Number of times that it was claimed. Only the latest claim may change it.
        lease_until: Unix time, by the clock of the database, after which another worker may take it over.
        stop_requested: What is to happen to it while it runs: pause, cancel, or empty for nothing.
        idempotency_key: Key of the request that made it; None where it had none.
        request_digest: SHA-256 of that request.
        error: Why it failed, or why it ended; empty before.
        created_at: Unix time by the clock of the database, as all times here.
    """

    __tablename__ = PREFIX + "jobs"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    owner: Mapped[str] = mapped_column(String(64))
    study: Mapped[str] = mapped_column(String(100))
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)
    folder: Mapped[str] = mapped_column(Text)
    needs: Mapped[str] = mapped_column(Text, default="", server_default="")
    state: Mapped[str] = mapped_column(String(16), index=True)
    priority: Mapped[int] = mapped_column(Integer, default=0)
    run_after: Mapped[float] = mapped_column(Float, default=0.0)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    max_attempts: Mapped[int] = mapped_column(Integer, default=3)
    runner: Mapped[str] = mapped_column(String(32), default="")
    fencing_token: Mapped[int] = mapped_column(Integer, default=0)
    lease_until: Mapped[float] = mapped_column(Float, default=0.0)
    stop_requested: Mapped[str] = mapped_column(String(16), default="")
    idempotency_key: Mapped[str | None] = mapped_column(String(255), default=None)
    request_digest: Mapped[str] = mapped_column(String(64))
    error: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[float] = mapped_column(Float)
    started_at: Mapped[float | None] = mapped_column(Float, default=None)
    finished_at: Mapped[float | None] = mapped_column(Float, default=None)
    __table_args__ = (UniqueConstraint("owner", "study"), UniqueConstraint("owner", "idempotency_key"))


class WorkerRow(Table):
    """A worker of the service that lives.

    Attributes:
        token: Random name that no other worker has.
        offers: Names of the resources that it offers, one on each line.
        lease_until: Unix time, by the clock of the database, after which it is taken for dead.
    """

    __tablename__ = PREFIX + "workers"
    token: Mapped[str] = mapped_column(String(32), primary_key=True)
    offers: Mapped[str] = mapped_column(Text)
    lease_until: Mapped[float] = mapped_column(Float)


class TokenRow(Table):
    """A token of the service's API.

    Attributes:
        key: The public part of the token, by which it is found, listed and revoked.
        digest: SHA-256 of the whole token.
        owner: Name of the user whose studies it reaches.
        scopes: Names of what it allows: read, submit, admin.
        expires_at: Unix time, by the clock of the database, from which it is refused; None for never.
        revoked_at: Unix time from which it was revoked; None where it was not.
    """

    __tablename__ = PREFIX + "tokens"
    key: Mapped[str] = mapped_column(String(16), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(100))
    owner: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[float] = mapped_column(Float)
    expires_at: Mapped[float | None] = mapped_column(Float, default=None)
    revoked_at: Mapped[float | None] = mapped_column(Float, default=None)


class AuditRow(Table):
    """A request that was to change something.

    Attributes:
        at: Unix time by the clock of the database.
        token: Public part of the token; empty for a request that had none.
        status: Status code of the answer.
    """

    __tablename__ = PREFIX + "audit"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[float] = mapped_column(Float)
    token: Mapped[str] = mapped_column(String(16))
    owner: Mapped[str] = mapped_column(String(64))
    method: Mapped[str] = mapped_column(String(16))
    path: Mapped[str] = mapped_column(Text)
    status: Mapped[int] = mapped_column(Integer)
    address: Mapped[str] = mapped_column(String(64))
