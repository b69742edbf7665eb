"""Counts, best values and durations of the trials of many studies at once, in three statements however many."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Dialect, Engine, Float, case, cast, extract, func, select
from sqlalchemy.orm import Session

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.studies.result import FINISHED
from paredown.studies.tables import JobRow, MeasurementRow, StudyRow, TrialRow


@dataclass(frozen=True)
class Figures:
    """What the trials of a study come to.

    Attributes:
        counts: Number of trials by state; derived trials, which are all done, count as `derived`.
        best: Best value of each objective among the models that keep every limit.
        trial_s: Mean duration of a finished trial, in seconds; None before the first one.
    """

    counts: dict[str, int] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    trial_s: float | None = None

    @property
    def finished(self) -> int:
        """Number of trials that count towards the number that the study is to have."""
        return sum(self.counts.get(state, 0) for state in FINISHED)


def figures_of(engine: Engine, jobs: Collection[int]) -> dict[int, Figures]:
    """Return the figures of the studies of some jobs, by the id of the job; none before their first run has begun."""
    name = JobRow.owner + "." + JobRow.study
    query = select(StudyRow.id, JobRow.id, StudyRow.config["objectives"]).join(JobRow, StudyRow.name == name)
    with Session(engine) as session:
        studies = {row[0]: (row[1], row[2]) for row in session.execute(query.where(JobRow.id.in_(jobs)))}
        counts = _counts(session, studies)
        best = _best(session, {study: objectives for study, (_, objectives) in studies.items()})
    return {job: Figures(counts[study][0], best[study], counts[study][1]) for study, (job, _) in studies.items()}


def _counts(session: Session, studies: Collection[int]) -> dict[int, tuple[dict[str, int], float | None]]:
    is_derived = TrialRow.parent.is_not(None)
    seconds = func.sum(case((TrialRow.finished_at.is_not(None), _seconds(session.get_bind().dialect)), else_=0.0))
    query = (
        select(TrialRow.study_id, TrialRow.state, is_derived, func.count(), seconds)
        .where(TrialRow.study_id.in_(studies))
        .group_by(TrialRow.study_id, TrialRow.state, is_derived)
    )
    counts: dict[int, dict[str, int]] = {study: {} for study in studies}
    spent = dict.fromkeys(studies, 0.0)
    for study, state, derived, number, total_s in session.execute(query):
        key = "derived" if derived else state
        counts[study][key] = counts[study].get(key, 0) + number
        spent[study] += float(total_s) if state in FINISHED and not derived else 0.0
    finished = {study: sum(found.get(state, 0) for state in FINISHED) for study, found in counts.items()}
    return {study: (counts[study], spent[study] / n if n else None) for study, n in finished.items()}


def _seconds(dialect: Dialect) -> ColumnElement[Any]:
    if dialect.name == "sqlite":
        return (func.julianday(TrialRow.finished_at) - func.julianday(TrialRow.started_at)) * 86400.0
    return cast(extract("epoch", TrialRow.finished_at - TrialRow.started_at), Float)


def _best(session: Session, objectives: dict[int, list[str]]) -> dict[int, dict[str, float]]:
    metrics = known_metrics()
    query = (
        select(TrialRow.study_id, MeasurementRow.metric, func.min(MeasurementRow.value), func.max(MeasurementRow.value))
        .join(TrialRow, TrialRow.id == MeasurementRow.trial_id)
        .where(TrialRow.study_id.in_(objectives), TrialRow.state == "done", TrialRow.feasible.is_(True))
        .where(MeasurementRow.metric.in_({name for names in objectives.values() for name in names}))
        .group_by(TrialRow.study_id, MeasurementRow.metric)
    )
    found: dict[int, dict[str, float]] = {study: {} for study in objectives}
    for study, name, least, most in session.execute(query):
        if name in objectives[study]:
            found[study][name] = most if metrics[name].higher_is_better else least
    return {study: {name: best[name] for name in objectives[study] if name in best} for study, best in found.items()}
