"""Trials derived from another one: the results of a trained model under another setting, without training.

Their rows are written in the same transaction as their parent's, but without a number of their own, since only Optuna
assigns numbers. Each row then gets a trial in Optuna and its number; `recover` continues what a kill interrupts.
"""

from collections.abc import Mapping, Sequence

import optuna
from optuna.trial import TrialState
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from paredown.evaluators.metrics.measurement import Objective, violations
from paredown.spaces.knob import Value
from paredown.studies import optuna_study
from paredown.studies.ownership import UNNUMBERED, Runner
from paredown.studies.result import DERIVED_KEY, Derived
from paredown.studies.tables import MeasurementRow, TrialRow

MAX_DERIVED = 1000
"""Maximum number of trials derived from one parent."""


def store(
    session: Session, runner: Runner, parent: TrialRow, derived: Derived, place: int, objectives: Sequence[Objective]
) -> None:
    """Write the rows of a derived trial together with those of its parent, which is not committed yet.

    Args:
        session: Session of the parent's transaction.
        runner: Runner that gives the trial its number.
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
        owner=runner.token,
        lease_until=runner.lease_until,
        started_at=parent.started_at,
        finished_at=parent.finished_at,
    )
    session.add(row)
    session.flush()
    for m in derived.measurements.values():
        session.add(MeasurementRow(trial_id=row.id, **m.to_json()))


def number(engine: Engine, study: optuna.Study, runner: Runner, study_id: int) -> list[tuple[optuna.Trial, int]]:
    """Add a trial in Optuna for each row of a runner that has none, and return these trials with the ids of their rows.

    After a kill, the next call continues: it finds a trial that Optuna already has by the row id in its attributes.
    """
    numbered = []
    unnumbered = select(TrialRow).where(
        TrialRow.study_id == study_id, TrialRow.state == UNNUMBERED, TrialRow.owner == runner.token
    )
    with Session(engine, expire_on_commit=False) as session:
        rows = session.scalars(unnumbered.order_by(TrialRow.number.desc())).all()
    for row in rows:
        # Outside of our transactions: Optuna writes in one of its own.
        trial_id = optuna_study.derived_trial(engine, row.id)
        if trial_id is None:
            assert row.parent is not None, "rows without a number are derived ones"
            trial_id = _add(engine, study, row.parent, row.facts["changed"], row.id)
        trial = optuna.trial.Trial(study, trial_id)
        with Session(engine) as session:
            own = session.get_one(TrialRow, row.id)
            own.number, own.state, own.owner, own.lease_until = trial.number, "done", "", 0.0
            session.commit()
        numbered.append((trial, row.id))
    return numbered


def _add(engine: Engine, study: optuna.Study, parent: int, changed: Mapping[str, Value], row_id: int) -> int:
    """Add a trial in Optuna with the parent's knobs, some of them changed, and return its id.

    It runs until it is told its values.
    """
    storage = study._storage
    origin = storage.get_trial(storage.get_trial_id_from_study_id_trial_number(study._study_id, parent))
    study.add_trial(
        optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params={**origin.params, **changed},
            distributions=origin.distributions,
            user_attrs={DERIVED_KEY: row_id},
        )
    )
    added = optuna_study.derived_trial(engine, row_id)
    assert added is not None, "it was just added"
    return added
