"""Local search at the end of a study: another sampler proposes all trials but the last ones.

The last proposals of a surrogate or a population are a matter of luck; neighbours of the front lie near it for certain.
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
    """Proposes by another sampler until `last` trials of the study are left, and by local search from then on.

    The sampler reads the number of trials from the study, so that a study opened again switches at the same trial. As
    in the study's budget, done, failed and stopped trials count, and running ones; rejected trials do not.

    Args:
        wrapped: The sampler that proposes all trials but the last ones.
        problem: The problem; it says how many trials the study has.
        last: Number of trials that local search proposes.
    """

    def __init__(self, wrapped: BaseSampler, problem: Problem, last: int) -> None:
        self._wrapped = wrapped
        self._local = LocalSearchSampler(problem, start=0)
        self._switch = problem.trials - last
        # One sampler proposes all knobs of a trial, although other trials finish meanwhile.
        self._polishing: set[int] = set()

    def __str__(self) -> str:
        return f"{self._wrapped}, polished"

    def reseed_rng(self) -> None:
        """Reseed both samplers."""
        self._wrapped.reseed_rng()
        self._local.reseed_rng()

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Decide which sampler proposes this trial, and notify the wrapped one."""
        if _counted(study, trial.number) >= self._switch:
            self._polishing.add(trial.number)
        self._wrapped.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the search space of the sampler that proposes this trial."""
        return self._turn(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the proposal of the sampler that proposes this trial."""
        return self._turn(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the value of one knob from the sampler that proposes this trial."""
        return self._turn(trial).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Notify the wrapped sampler of every trial, since it may keep a record of them."""
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
