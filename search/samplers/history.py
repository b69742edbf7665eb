"""The trials of a study as samplers read them.

A sampler derives all of its state from the history, so that nothing needs to be saved.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.sampler import Params
from paredown.studies.result import STOPPED_KEY


@dataclass
class History:
    """The trials of a study by outcome, oldest first.

    Attributes:
        done: Knobs of the trials with values.
        numbers: Numbers of these trials.
        losses: Values of these trials, minimised, `n x m`.
        violations: By how much these trials break each constraint; 0 where they keep it.
        constraints: Knobs of finished trials, done or not, with their constraint values.
        failed: Knobs of the trials that failed.
        stopped: Knobs of the trials that were stopped early, the share of their training, and their first objective as
            a loss.
        pending: Knobs of the running trials.
        seen: Keys of all networks that were tried or are running.
        finished: Knobs of all finished trials, whatever their outcome, with the row in `losses`; None without values.
        signs: Factor of the values of each objective: -1 where it is maximised, otherwise 1.
    """

    done: list[Params] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    losses: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    violations: list[dict[str, float]] = field(default_factory=list)
    constraints: list[tuple[Params, dict[str, float]]] = field(default_factory=list)
    failed: list[Params] = field(default_factory=list)
    stopped: list[tuple[Params, float, float]] = field(default_factory=list)
    pending: list[Params] = field(default_factory=list)
    seen: set[tuple[Any, ...]] = field(default_factory=set)
    finished: list[tuple[Params, int | None]] = field(default_factory=list)
    signs: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @property
    def feasible(self) -> NDArray[np.bool_]:
        """Whether each trial in `done` keeps every constraint."""
        return np.array([not any(v > 0 for v in one.values()) for one in self.violations], dtype=bool)


def read_history(study: optuna.Study, domain: KnobDomain, exclude: int | None = None) -> History:
    """Return the history of a study.

    Args:
        study: The study; it may have any objectives.
        domain: The knobs that count; others are ignored.
        exclude: Number of the trial that the sampler proposes now.
    """
    signs = np.array([-1.0 if d == optuna.study.StudyDirection.MAXIMIZE else 1.0 for d in study.directions])
    history = History(signs=signs)
    losses = []
    for trial in study.get_trials(deepcopy=False):
        if trial.number == exclude or not trial.params:
            continue
        history.seen.add(domain.key(trial.params))
        if trial.state in (TrialState.RUNNING, TrialState.WAITING):
            history.pending.append(trial.params)
            continue
        constraints = trial.constraints
        if constraints:
            history.constraints.append((trial.params, dict(constraints)))
        is_done = trial.state == TrialState.COMPLETE and all(map(math.isfinite, trial.values))
        history.finished.append((trial.params, len(history.done) if is_done else None))
        if is_done:
            history.done.append(trial.params)
            history.numbers.append(trial.number)
            losses.append(signs * np.array(trial.values))
            history.violations.append({name: max(0.0, v) for name, v in constraints.items()})
        elif trial.state == TrialState.FAIL:
            history.failed.append(trial.params)
        elif (stopped := _stopped(trial)) is not None:
            history.stopped.append((trial.params, stopped[0], signs[0] * stopped[1]))
    history.losses = np.array(losses).reshape(len(losses), len(signs))
    return history


def union_space(study: optuna.Study) -> dict[str, BaseDistribution]:
    """Return every knob that a trial of the study had, with the range of the latest such trial."""
    space: dict[str, BaseDistribution] = {}
    for trial in study.get_trials(deepcopy=False):
        space |= trial.distributions
    return {name: space[name] for name in sorted(space) if not space[name].single()}


def _stopped(trial: FrozenTrial) -> tuple[float, float] | None:
    stopped: Mapping[str, float] | None = trial.user_attrs.get(STOPPED_KEY)
    return None if stopped is None else (float(stopped["share"]), float(stopped["value"]))
