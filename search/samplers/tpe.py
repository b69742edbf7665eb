"""Tree-structured Parzen estimators, as the joint space needs them.

The estimator is multivariate and grouped, since knobs depend on each other. With a constant liar, parallel workers do
not propose the same network.

Source:
    Ozaki et al., Multiobjective Tree-Structured Parzen Estimator, JAIR 2022.
"""

import warnings

import optuna
from optuna.samplers import BaseSampler, TPESampler

from paredown.search.samplers.sampler import Problem


def make_tpe(problem: Problem) -> BaseSampler:
    """Return Optuna's TPE; a quarter of the trials, at most 10, are random."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(
            seed=problem.seed + problem.n_told,
            multivariate=True,
            group=True,
            constant_liar=True,
            n_startup_trials=max(2, min(10, problem.trials // 4)),
        )
