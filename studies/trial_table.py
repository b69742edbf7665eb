"""The trials of a study as rows of a table, a page at a time or all of them."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, select
from sqlalchemy.orm import Session

from paredown.evaluators.metrics.measurement import Metric, Objective, violations
from paredown.studies.collector import collector_paused
from paredown.studies.errors import StudyError
from paredown.studies.records import Records
from paredown.studies.result import CAUSE
from paredown.studies.tables import MeasurementRow, TrialRow

STATES = (
    *("done", "failed", "rejected", "stopped", "running"),
    *("parked", "waiting", "duplicate", "retried", "withdrawn", "infeasible"),
)
"""What a page may be narrowed to: states of trials, and `infeasible`, the models that break a limit."""
COLUMNS = (
    *("number", "parent", "state", "reason", "candidate", "facts", "attempt", "deaths"),
    *("feasible", "artifact", "started_at", "finished_at"),
)
IDS_AT_ONCE = 500
"""Maximum number of trials whose measurements one query names; databases limit the length of a list."""


@dataclass(frozen=True)
class Page:
    """Some rows of a longer table.

    Attributes:
        rows: The trials as plain data, as `trials` returns them.
        first: Place of the first one in the table, counted from 1.
        total: Number of rows of the table.
        number: Number of the page.
        pages: Number of pages.
    """

    rows: list[dict[str, Any]]
    first: int
    total: int
    number: int
    pages: int


def trials(study: Records) -> list[dict[str, Any]]:
    """Return all trials of every state as plain data, in order of number.

    Each has the columns of its row, its `cause`, its `skipped` layers, its `metrics` and `spreads` by name where they
    were measured, and `broken_limits`, a list of `{metric, value, limit, text}`.
    """
    return _read(study, _query(study).order_by(TrialRow.number))


def page(study: Records, rows: int, number: int = 1, state: str | None = None, best: Metric | None = None) -> Page:
    """Return a page of a study's trials; only its rows are read.

    Args:
        study: The study.
        rows: Number of rows of a page.
        number: Number of the page, counted from 1.
        state: One of `STATES`; None for all.
        best: Metric by which the trials are sorted, the best one first; trials without it are left out. None for the
            latest trials on page 1, in order of number.

    Raises:
        StudyError: There is no such page.
    """
    query = _query(study, state)
    if best is not None:
        value = MeasurementRow.value
        measured = and_(MeasurementRow.trial_id == TrialRow.id, MeasurementRow.metric == best.name)
        query = query.join(MeasurementRow, measured)
        query = query.order_by(value.desc() if best.higher_is_better else value, TrialRow.number)
    else:
        query = query.order_by(TrialRow.number.desc())
    with Session(study._storage.engine) as session:
        total = session.scalar(query.with_only_columns(func.count()).order_by(None)) or 0
    pages = max(1, -(-total // rows))
    if not 1 <= number <= pages:
        raise StudyError(f"page {number} of study {study.name!r} does not exist; allowed: 1 to {pages}")
    skipped = rows * (number - 1)
    found = _read(study, query.limit(rows).offset(skipped))
    if best is not None:
        return Page(found, skipped + 1, total, number, pages)
    return Page(found[::-1], total - skipped - len(found) + 1, total, number, pages)


def _query(study: Records, state: str | None = None) -> Select[Any]:
    query = select(TrialRow.id, *(getattr(TrialRow, name) for name in COLUMNS)).where(TrialRow.study_id == study._id)
    if state == "infeasible":
        return query.where(TrialRow.state == "done", TrialRow.feasible.is_(False))
    return query if state is None else query.where(TrialRow.state == state)


def _read(study: Records, query: Select[Any]) -> list[dict[str, Any]]:
    with collector_paused(), Session(study._storage.engine) as session:
        found = {row.id: dict(zip(COLUMNS, row[1:], strict=True)) for row in session.execute(query)}
        for row in found.values():
            row["skipped"], row["cause"] = row["facts"].get("skipped", {}), row["facts"].get(CAUSE, "")
            row["metrics"], row["spreads"] = {}, {}
        for which in _measured(study, list(found)):
            columns = (MeasurementRow.trial_id, MeasurementRow.metric, MeasurementRow.value, MeasurementRow.spread)
            for trial_id, metric, value, spread in session.execute(select(*columns).where(which)):
                if trial_id in found:
                    found[trial_id]["metrics"][metric], found[trial_id]["spreads"][metric] = value, spread
    for row in found.values():
        row["broken_limits"] = _broken(study.objectives, row["metrics"]) if row["feasible"] is False else []
    return list(found.values())


def _measured(study: Records, ids: list[int]) -> list[ColumnElement[bool]]:
    """Return conditions of the measurements of some trials; of many, all of the study are read."""
    if len(ids) > IDS_AT_ONCE:
        return [MeasurementRow.trial_id.in_(select(TrialRow.id).where(TrialRow.study_id == study._id))]
    return [MeasurementRow.trial_id.in_(ids)]


def _broken(objectives: tuple[Objective, ...], values: dict[str, float]) -> list[dict[str, Any]]:
    """Return each limit that the values break."""
    by_name = {objective.metric.name: objective for objective in objectives}
    broken = []
    for name, violation in violations(objectives, values).items():
        if violation > 0:
            value, limit = values.get(name), by_name[name].limit
            text = f"{name} was not measured" if value is None else by_name[name].describe(value)
            broken.append({"metric": name, "value": value, "limit": limit, "text": text})
    return broken
