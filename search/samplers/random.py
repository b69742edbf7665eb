"""Random search: it draws every knob uniformly.

Source:
    Bergstra, Bengio, Random Search for Hyper-Parameter Optimization, JMLR 2012.
"""

from optuna.samplers import BaseSampler, RandomSampler

from paredown.search.samplers.sampler import Problem


def make_random(problem: Problem) -> BaseSampler:
    """Return Optuna's random sampler."""
    return RandomSampler(seed=problem.seed + problem.n_told)
