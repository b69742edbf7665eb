"""Gaussian processes, one an objective, with expected hypervolume improvement.

Takes seconds an ask (Optuna's documentation: up to 500 trials); conditional knobs are drawn at random.

Source:
    Optuna's GPSampler; Ament et al., Unexpected Improvements to Expected Improvement for Bayesian Optimization,
    NeurIPS 2023.
"""

from optuna.samplers import BaseSampler, GPSampler

from paredown.search.samplers.sampler import Problem


def make_gp(problem: Problem) -> BaseSampler:
    """Return Optuna's Gaussian-process sampler; a quarter of the trials, at most 10, are random."""
    return GPSampler(
        seed=problem.seed,
        deterministic_objective=False,  # training is noisy
        n_startup_trials=max(2, min(10, problem.trials // 4)),
        warn_independent_sampling=False,
    )
