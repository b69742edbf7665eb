"""What a sampler entry is."""

from collections.abc import Callable

from optuna.samplers import BaseSampler

MakeSampler = Callable[[int, int], BaseSampler]
"""(seed, trials of the study) -> sampler."""
