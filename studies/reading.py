"""Reads a study over a database that is open already, as a server does at each request."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import optuna
from optuna.storages import RDBStorage
from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from paredown.evaluators.metrics.measurement import Objective
from paredown.studies import optuna_study
from paredown.studies.front import Model
from paredown.studies.records import Records
from paredown.studies.result import CAUSE
from paredown.studies.tables import MeasurementRow, StudyRow, TrialRow

SORTED_BY = ("number", "state", "attempt", "started_at", "finished_at")
"""Columns by which a page of trials may be sorted, beside the study's metrics."""

STATES = (
    *("running", "waiting", "done", "rejected", "stopped", "failed", "parked"),
    *("duplicate", "retried", "withdrawn", "unnumbered"),
)
"""States that a trial may have."""


SHOWN = (
    *(TrialRow.id, TrialRow.number, TrialRow.parent, TrialRow.state, TrialRow.reason, TrialRow.feasible),
    *(TrialRow.attempt, TrialRow.candidate, TrialRow.started_at, TrialRow.finished_at),
    TrialRow.facts[CAUSE].as_string().label("cause"),
)
"""Columns of a trial on a page."""


class DoneTrials(NamedTuple):
    """The trials of a study that are done, at one moment.

    Attributes:
        feasible: Whether each keeps every limit, by number; None where that is not known.
        measurements: Number of measurements of all of them.
    """

    feasible: dict[int, bool | None]
    measurements: int


class StudyReader(Records):
    """Reads the trials of one study, page by page."""

    @classmethod
    def of(
        cls, storage: RDBStorage, name: str, objectives: Callable[[Mapping[str, Any]], Sequence[Objective]]
    ) -> "StudyReader | None":
        """Return the reader of a study; None where the database has none of that name.

        Args:
            storage: Database.
            name: Name of the study.
            objectives: Function that reads the objectives from the stored configuration.
        """
        with Session(storage.engine, expire_on_commit=False) as session:
            row = session.scalar(select(StudyRow).where(StudyRow.name == name))
        return None if row is None else cls(storage, row, objectives(row.config))

    def best(self) -> dict[str, float]:
        """Return the best value of each optimised metric among feasible finished trials."""
        found: dict[str, float] = {}
        with Session(self._storage.engine) as session:
            for metric in self.optimised_metrics:
                extreme = func.max if metric.higher_is_better else func.min
                query = (
                    select(extreme(MeasurementRow.value))
                    .join(TrialRow, TrialRow.id == MeasurementRow.trial_id)
                    .where(TrialRow.study_id == self._id, TrialRow.state == "done", TrialRow.feasible.is_(True))
                    .where(MeasurementRow.metric == metric.name)
                )
                if (value := session.scalar(query)) is not None:
                    found[metric.name] = value
        return found

    def done_trials(self) -> DoneTrials:
        """Return what tells whether finished trials have changed, read in one statement."""
        done = (TrialRow.study_id == self._id, TrialRow.state == "done")
        ids = select(TrialRow.id).where(*done)
        count = select(func.count()).select_from(MeasurementRow).where(MeasurementRow.trial_id.in_(ids))
        query = select(TrialRow.number, TrialRow.feasible, count.scalar_subquery()).where(*done)
        with Session(self._storage.engine) as session:
            rows = session.execute(query).all()
        return DoneTrials({number: feasible for number, feasible, _ in rows}, rows[0][2] if rows else 0)

    def failures(self) -> dict[str, int]:
        """Return the number of failed trials by cause, the most frequent first; an empty text where none is known."""
        query = select(TrialRow.facts[CAUSE].as_string())
        with Session(self._storage.engine) as session:
            found = session.scalars(query.where(TrialRow.study_id == self._id, TrialRow.state == "failed"))
            return dict(Counter(cause or "" for cause in found).most_common())

    def models_among(self, numbers: Collection[int]) -> list[Model]:
        """Return those trials of some numbers that are finished and have all optimised metrics."""
        return self._models(TrialRow.number.in_(numbers)) if numbers else []

    def page(
        self,
        *,
        states: Sequence[str] = (),
        feasible: bool | None = None,
        numbers: Collection[int] | None = None,
        sort: str = "number",
        descending: bool = False,
        offset: int = 0,
        limit: int = 100,
    ) -> tuple[int, list[dict[str, Any]]]:
        """Return the number of trials that match, and a page of them as plain data.

        Args:
            states: States of the trials; all where there are none.
            feasible: Whether they keep every limit; None for either.
            numbers: Numbers of the trials to which the page is narrowed; None for all.
            sort: One of `SORTED_BY`, or the name of one of the study's metrics; trials without it come last.
            descending: Whether the largest comes first.
            offset: Number of trials before the page.
            limit: Maximum number of trials on the page.
        """
        which = [TrialRow.study_id == self._id]
        which += [TrialRow.state.in_(states)] if states else []
        which += [] if feasible is None else [TrialRow.feasible.is_(feasible)]
        which += [] if numbers is None else [TrialRow.number.in_(numbers)]
        query = select(TrialRow.id).where(*which)
        if sort in SORTED_BY:
            key: Any = getattr(TrialRow, sort)
        else:
            sorting = aliased(MeasurementRow)
            query = query.outerjoin(sorting, (sorting.trial_id == TrialRow.id) & (sorting.metric == sort))
            key = sorting.value
        order = key.desc() if descending else key.asc()
        query = query.order_by(order.nulls_last(), TrialRow.number).offset(offset).limit(limit)
        with Session(self._storage.engine) as session:
            total = session.scalar(select(func.count()).select_from(TrialRow).where(*which)) or 0
            ids = session.scalars(query).all()  # sorted without their long columns
            rows = {row.id: row for row in session.execute(select(*SHOWN).where(TrialRow.id.in_(ids)))}
            values: dict[int, dict[str, float]] = {one: {} for one in ids}
            measured = select(MeasurementRow.trial_id, MeasurementRow.metric, MeasurementRow.value)
            for one, metric, value in session.execute(measured.where(MeasurementRow.trial_id.in_(ids))):
                values[one][metric] = value
            return total, [_plain(rows[one], values[one]) for one in ids if one in rows]

    def trial(self, number: int) -> dict[str, Any] | None:
        """Return a trial as plain data, with its facts and its folder; None where there is none of that number."""
        with Session(self._storage.engine) as session:
            columns = (*SHOWN, TrialRow.facts, TrialRow.artifact)
            which = (TrialRow.study_id == self._id, TrialRow.number == number)
            row = session.execute(select(*columns).where(*which)).one_or_none()
            if row is None:
                return None
            return {**_plain(row, self._values(row.id)), "facts": row.facts, "artifact": row.artifact}

    def importances(self, metric: str) -> dict[str, float]:
        """Return the share of each knob in the variance of an objective, largest first."""
        study = optuna.load_study(study_name=self.name, storage=self._storage)
        return optuna_study.importances(study, self.optimised_metrics, metric)


def _plain(row: Any, metrics: dict[str, float]) -> dict[str, Any]:
    return {
        "trial": row.number,
        "parent": row.parent,
        "state": row.state,
        "reason": row.reason,
        "cause": row.cause or "",
        "feasible": row.feasible,
        "attempt": row.attempt,
        "candidate": row.candidate,
        "metrics": metrics,
        "started_at": row.started_at.isoformat(),
        "finished_at": None if row.finished_at is None else row.finished_at.isoformat(),
    }
