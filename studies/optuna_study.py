"""Makes and opens Optuna's study, without Optuna's log messages."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import Engine, Integer, and_, column, literal_column, select, table
from sqlalchemy.orm import Session

from paredown.evaluators.metrics.measurement import Metric, Objective, optimised_metrics, violations
from paredown.studies.result import DERIVED_KEY, STOPPED_KEY
from paredown.studies.tables import TrialRow

_TRIALS = table("trials", column("trial_id", Integer), column("study_id", Integer), column("number", Integer))
_ATTRIBUTES = table("trial_user_attributes", column("trial_id", Integer), column("key"), column("value_json"))


def create(storage: RDBStorage, name: str, metrics: Sequence[Metric]) -> optuna.Study:
    """Open Optuna's study, or make it; its objectives are named for Optuna's dashboard."""
    with _quiet():
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            directions=["maximize" if m.higher_is_better else "minimize" for m in metrics],
            load_if_exists=True,
        )
        study.set_metric_names([m.name for m in metrics])
        return study


def load(storage: RDBStorage, name: str) -> optuna.Study:
    """Open Optuna's study.

    Raises:
        KeyError: There is no study of that name.
    """
    with _quiet():
        return optuna.load_study(storage=storage, study_name=name)


def is_empty(engine: Engine, study: optuna.Study) -> bool:
    """Return whether a study has no trial yet, also none that waits."""
    with Session(engine) as session:
        return session.scalar(select(_TRIALS.c.number).where(_TRIALS.c.study_id == study._study_id).limit(1)) is None


def running_trials(engine: Engine, study: optuna.Study, study_id: int) -> list[tuple[int, TrialRow | None]]:
    """Return the id of each trial that runs in Optuna, with its row; derived trials without a number are left out.

    Args:
        engine: Engine of the database.
        study: The study in Optuna.
        study_id: Id of the study in our tables.
    """
    ours = and_(TrialRow.study_id == study_id, TrialRow.number == _TRIALS.c.number)
    derived = select(_ATTRIBUTES.c.trial_id).where(_ATTRIBUTES.c.key == DERIVED_KEY)
    query = (
        select(_TRIALS.c.trial_id, TrialRow)
        .select_from(_TRIALS)
        .outerjoin(TrialRow, ours)
        .where(_TRIALS.c.study_id == study._study_id, literal_column("trials.state") == literal_column("'RUNNING'"))
        .where(TrialRow.id.is_not(None) | _TRIALS.c.trial_id.not_in(derived))
        .order_by(_TRIALS.c.number)
    )
    with Session(engine, expire_on_commit=False) as session:
        return [(trial_id, row) for trial_id, row in session.execute(query)]


def derived_trial(engine: Engine, row_id: int) -> int | None:
    """Return the id of the trial in Optuna that was made for a derived trial; None while there is none."""
    query = select(_ATTRIBUTES.c.trial_id).where(
        _ATTRIBUTES.c.key == DERIVED_KEY, _ATTRIBUTES.c.value_json == str(row_id)
    )
    with Session(engine) as session:
        return session.scalar(query)


def finish(
    study: optuna.Study,
    trial: optuna.Trial,
    objectives: Sequence[Objective],
    outcome: str,
    values: Mapping[str, float],
    facts: Mapping[str, Any],
) -> None:
    """Give a trial its constraints and its final state in Optuna; one that has ended stays as it is.

    Args:
        study: The study in Optuna.
        trial: The trial.
        objectives: Objectives of the study.
        outcome: Outcome of the trial.
        values: Values by metric name.
        facts: Facts of the trial.
    """
    with _quiet(), contextlib.suppress(UpdateFinishedTrialError):  # another search has just told the same result
        if outcome != "failed":
            for name, violation in violations(objectives, values, untrained=outcome == "stopped").items():
                trial.set_constraint(name, violation)
        if outcome == "stopped":
            trial.set_user_attr(STOPPED_KEY, facts[STOPPED_KEY])
        if outcome == "done":
            optimised = [metric.counted_as(values[metric.name]) for metric in optimised_metrics(objectives)]
            study.tell(trial, optimised, skip_if_finished=True)
        else:
            # Rejected trials are PRUNED: samplers ignore FAIL and would try the same region again.
            state = TrialState.FAIL if outcome == "failed" else TrialState.PRUNED
            study.tell(trial, state=state, skip_if_finished=True)


def importances(study: optuna.Study, metrics: Sequence[Metric], metric: str) -> dict[str, float]:
    """Return the share of each knob in the variance of a metric, largest first.

    Source:
        Watanabe, Bansal, Hutter, PED-ANOVA, IJCAI 2023.
    """
    index = [m.name for m in metrics].index(metric)
    with _quiet(), warnings.catch_warnings():
        # It warns that it looks at low values, which are the good ones of a loss.
        warnings.simplefilter("ignore", UserWarning)
        return optuna.importance.get_param_importances(
            study, target=lambda trial: metrics[index].loss(trial.values[index])
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Optuna's log messages, which our display replaces, and its warning of experimental metric names."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
