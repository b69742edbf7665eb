"""Trials derived from another one: the results of a trained model under another setting, without training.

Their rows are written in the same transaction as their parent's, but without a number of their own, since only Optuna
assigns numbers. Each row then gets a trial in Optuna and its number; `recover` continues what a kill interrupts.
"""

import time
from collections.abc import Mapping, Sequence

import optuna
from optuna.trial import TrialState
from sqlalchemy import Engine, Select, select
from sqlalchemy.orm import Session

from paredown.evaluators.metrics.measurement import Objective, violations
from paredown.spaces.knob import Value
from paredown.studies.process import LEASE_S, is_alive, this_process
from paredown.studies.result import DERIVED_KEY, Derived
from paredown.studies.tables import MeasurementRow, TrialRow

UNNUMBERED = "unnumbered"
"""State of a row whose trial in Optuna is not there yet; its number is negative until then."""
MAX_DERIVED = 1000
"""Maximum number of trials derived from one parent."""


def store(session: Session, parent: TrialRow, derived: Derived, place: int, objectives: Sequence[Objective]) -> None:
    """Write the rows of a derived trial together with those of its parent, which is not committed yet.

    Args:
        session: Session of the parent's transaction.
        parent: Row of the trial that was trained.
        derived: The derived trial.
        place: Index of the derived trial among those of its parent.
        objectives: Objectives, with the limits that decide whether the trial is feasible.
    """
    values = {name: m.value for name, m in derived.measurements.items()}
    row = TrialRow(
        study_id=parent.study_id,
        number=-(MAX_DERIVED * parent.number + place + 1),
        parent=parent.number,
        digest=derived.candidate.digest,
        candidate=derived.candidate.to_json(),
        state=UNNUMBERED,
        feasible=all(v <= 0 for v in violations(objectives, values).values()),
        artifact=derived.artifact,
        facts={**derived.facts, "changed": dict(derived.changed)},
        owner=this_process(),
        lease_until=time.time() + LEASE_S,
        started_at=parent.started_at,
        finished_at=parent.finished_at,
    )
    session.add(row)
    session.flush()
    for m in derived.measurements.values():
        session.add(MeasurementRow(trial_id=row.id, **m.to_json()))


def number(engine: Engine, study: optuna.Study, study_id: int) -> list[tuple[optuna.Trial, int]]:
    """Add a trial in Optuna for each row that has none, and return these trials with the ids of their rows.

    Rows of other live processes are left to them. After a kill, the next call continues: it finds a trial that Optuna
    already has by the row id in its attributes.
    """
    numbered = []
    with Session(engine, expire_on_commit=False) as session:
        waiting = [row for row in session.scalars(_unnumbered(study_id)) if _is_ours(row)]
    if not waiting:
        return []
    trials = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    made = {trial.user_attrs[DERIVED_KEY]: trial for trial in trials.values() if DERIVED_KEY in trial.user_attrs}
    for row in waiting:
        assert row.parent is not None, "rows without a number are derived ones"
        # Outside of our transactions: Optuna writes in one of its own.
        trial = made.get(row.id) or _add(study, trials[row.parent], row.facts["changed"], row.id)
        with Session(engine) as session:
            own = session.get_one(TrialRow, row.id)
            own.number, own.state, own.owner, own.lease_until = trial.number, "done", "", 0.0
            session.commit()
        numbered.append((optuna.trial.Trial(study, trial._trial_id), row.id))
    return numbered


def _unnumbered(study_id: int) -> Select[TrialRow]:
    rows = select(TrialRow).where(TrialRow.study_id == study_id, TrialRow.state == UNNUMBERED)
    return rows.order_by(TrialRow.number.desc())


def _is_ours(row: TrialRow) -> bool:
    return row.owner == this_process() or not is_alive(row.owner, row.lease_until, time.time())


def _add(
    study: optuna.Study, parent: optuna.trial.FrozenTrial, changed: Mapping[str, Value], row_id: int
) -> optuna.trial.FrozenTrial:
    """Add a trial in Optuna with the parent's knobs, some of them changed; it runs until it is told its values."""
    study.add_trial(
        optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params={**parent.params, **changed},
            distributions=parent.distributions,
            user_attrs={DERIVED_KEY: row_id},
        )
    )
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return next(trial for trial in running if trial.user_attrs.get(DERIVED_KEY) == row_id)
