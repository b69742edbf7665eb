"""A polish at the end: another sampler proposes, and the last trials of the study are local search.

The surrogate's or the population's last bit of luck is replaced by what is surely near the front.
"""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from paredown.search.samplers.local_search import LocalSearchSampler
from paredown.search.samplers.sampler import Problem
from paredown.studies.result import DERIVED_KEY, STOPPED_KEY


class PolishedSampler(BaseSampler):
    """Another sampler until `last` trials of the study are left, local search from then on.

    The count is read from the study, so a study opened again polishes where it would have. Counted is what a
    study's budget counts, done, failed and stopped trials, and those that run; a rejected one costs nothing.

    Args:
        wrapped: Proposes all but the last trials.
        problem: Says how many trials the study has.
        last: So many trials are proposed by local search.
    """

    def __init__(self, wrapped: BaseSampler, problem: Problem, last: int) -> None:
        self._wrapped = wrapped
        self._local = LocalSearchSampler(problem, start=0)
        self._switch = problem.trials - last
        # One trial must not change hands between its knobs, although others finish meanwhile.
        self._polishing: set[int] = set()

    def __str__(self) -> str:
        return f"{self._wrapped}, polished"

    def reseed_rng(self) -> None:
        """Pass on."""
        self._wrapped.reseed_rng()
        self._local.reseed_rng()

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Decide who proposes this trial; pass on."""
        if _counted(study, trial.number) >= self._switch:
            self._polishing.add(trial.number)
        self._wrapped.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the space of whoever proposes this trial."""
        return self._turn(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return what whoever proposes this trial proposes."""
        return self._turn(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return one knob of whoever proposes this trial."""
        return self._turn(trial).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Pass on; of every trial, since the wrapped sampler may keep books on them."""
        self._polishing.discard(trial.number)
        self._wrapped.after_trial(study, trial, state, values)

    def _turn(self, trial: FrozenTrial) -> BaseSampler:
        return self._local if trial.number in self._polishing else self._wrapped


def _counted(study: optuna.Study, exclude: int) -> int:
    return sum(
        trial.number != exclude
        and DERIVED_KEY not in trial.user_attrs
        and (
            trial.state in (TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING) or STOPPED_KEY in trial.user_attrs
        )
        for trial in study.get_trials(deepcopy=False)
    )
