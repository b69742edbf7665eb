"""NSGA-II.

Source:
    Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, IEEE TEC 2002.
"""

from optuna.samplers import BaseSampler, NSGAIISampler


def make_nsga2(seed: int, trials: int) -> BaseSampler:
    """Return Optuna's NSGA-II with a population for at least five generations, 8 to 50."""
    return NSGAIISampler(seed=seed, population_size=min(50, max(8, trials // 5)))
