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
        state: State: running, waiting (its process ended), done, rejected, stopped, failed, duplicate, retried or
            unnumbered.
        reason: Why it is not done; empty where it is.
        feasible: Whether it keeps every limit; None until it is done.
        artifact: Folder of its files, relative to the study's folder.
        facts: Seconds of each stage, measurements before training, and notes.
        owner: The process that runs it, `host/pid/start time`.
        lease_until: Unix time after which another process may take the trial for lost.
        attempt: Number of times that the trial was started.
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
    started_at: Mapped[datetime] = mapped_column(DateTime)
    finished_at: Mapped[datetime | None] = mapped_column(DateTime, default=None)
    __table_args__ = (
        UniqueConstraint("study_id", "number"),
        Index("ix_paredown_trials_digest", "study_id", "digest"),
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


class DriverRow(Table):
    """A process that runs trials of a study; its lease shows that it lives."""

    __tablename__ = PREFIX + "drivers"
    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id, ondelete="CASCADE"), primary_key=True)
    owner: Mapped[str] = mapped_column(String(255), primary_key=True)
    lease_until: Mapped[float] = mapped_column(Float)
