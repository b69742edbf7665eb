"""Random search: every knob drawn uniformly.

Source:
    Bergstra, Bengio, Random Search for Hyper-Parameter Optimization, JMLR 2012.
"""

from optuna.samplers import BaseSampler, RandomSampler


def make_random(seed: int, trials: int) -> BaseSampler:
    """Return Optuna's random sampler."""
    del trials
    return RandomSampler(seed=seed)
