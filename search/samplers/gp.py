"""One Gaussian process per objective, with expected hypervolume improvement.

A proposal takes seconds (Optuna's documentation advises at most 500 trials); conditional knobs are drawn at random.

Source:
    Optuna's GPSampler; Ament et al., Unexpected Improvements to Expected Improvement for Bayesian Optimization,
    NeurIPS 2023.
"""

from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler
from optuna.trial import FrozenTrial

from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.history import read_history
from paredown.search.samplers.proposing import fresh_draw
from paredown.search.samplers.sampler import Problem


class FreshGPSampler(GPSampler):
    """Optuna's GPSampler with a random network in place of each known one that it proposes.

    GPSampler ignores failed trials and nearly always finds the same optimum of its acquisition function: after a
    network has failed, it would propose that network for ever.
    """

    def __init__(self, problem: Problem, **options: Any) -> None:
        super().__init__(seed=problem.seed + problem.n_told, **options)
        self._problem = problem

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return Optuna's proposal, or a random network in place of a known one."""
        params = super().sample_relative(study, trial, search_space)
        if not params:
            return params
        domain = KnobDomain(search_space, self._problem.canonical)
        history = read_history(study, domain, exclude=trial.number)
        if domain.key(params) not in history.seen:
            return params
        return dict(fresh_draw(domain, history, np.random.default_rng([self._problem.seed, trial.number])))


def make_gp(problem: Problem) -> BaseSampler:
    """Return Optuna's Gaussian-process sampler; a quarter of the trials, at most 10, are random."""
    return FreshGPSampler(
        problem,
        deterministic_objective=False,  # training is noisy
        n_startup_trials=max(2, min(10, problem.trials // 4)),
        warn_independent_sampling=False,
    )
