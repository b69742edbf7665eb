"""Quasi-random search: points of a scrambled Sobol sequence, spread more evenly than random ones.

Source:
    Bergstra, Bengio, Random Search for Hyper-Parameter Optimization, JMLR 2012, section 4 (Sobol sequences).
"""

import warnings

import optuna
from optuna.samplers import BaseSampler, QMCSampler

from paredown.search.samplers.sampler import Problem


def make_qmc(problem: Problem) -> BaseSampler:
    """Return Optuna's quasi-Monte-Carlo sampler: a Sobol sequence, scrambled by the seed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return QMCSampler(
            seed=problem.seed + problem.n_told,
            qmc_type="sobol",
            scramble=True,
            warn_asynchronous_seeding=False,
            warn_independent_sampling=False,
        )
