"""NSGA-II.

Source:
    Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, IEEE TEC 2002.
"""

from optuna.samplers import BaseSampler, NSGAIISampler

from paredown.search.samplers.sampler import Problem


def make_nsga2(problem: Problem) -> BaseSampler:
    """Return Optuna's NSGA-II with a population for at least five generations, 8 to 50."""
    return NSGAIISampler(seed=problem.seed + problem.n_told, population_size=min(50, max(8, problem.trials // 5)))
