"""NSGA-III: NSGA-II that spreads by reference points instead, for three and more objectives.

Source:
    Deb, Jain, An Evolutionary Many-Objective Optimization Algorithm Using Reference-Point-Based Nondominated
    Sorting Approach, Part I, IEEE TEC 2014.
"""

import warnings

import optuna
from optuna.samplers import BaseSampler, NSGAIIISampler

from paredown.search.samplers.sampler import Problem


def make_nsga3(problem: Problem) -> BaseSampler:
    """Return Optuna's NSGA-III with a population for at least five generations, 8 to 50."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return NSGAIIISampler(seed=problem.seed + problem.n_told, population_size=min(50, max(8, problem.trials // 5)))
