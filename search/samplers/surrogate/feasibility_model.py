"""The probability that a network is feasible, learned from trials that kept or broke a constraint, or failed."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from paredown.search.samplers.surrogate.gaussian_process import Hyperparameters, Predict, fit, tuned_rows

Array = NDArray[np.float64]

DOUBT = 0.1
"""Standard deviation that is added to the model's, in units of the standard deviation of the values."""

FeasibilityModel = Callable[[Array], Array]
"""`n x d` inputs -> probability that each is feasible, `n`."""


def fit_feasibility(inputs: Array, values: Array, tuned: Callable[[Array, Array], Hyperparameters]) -> FeasibilityModel:
    """Return a model of the probability that a quantity is not positive.

    Args:
        inputs: Inputs of the model, `n x d`.
        values: The quantity, `n`; values far from 0 are clipped, since their size says nothing about where the sign
            changes.
        tuned: Returns the hyperparameters for inputs and targets.
    """
    rows = tuned_rows(len(values))
    bound = 3 * np.median(np.abs(values)) + 1e-9
    clipped = np.clip(values, -bound, bound)
    centre, scale = clipped[:rows].mean(), clipped[:rows].std() + 1e-9
    scores = (clipped - centre) / scale
    predict: Predict = fit(inputs, scores, tuned(inputs[:rows], scores[:rows]))

    def probability(new: Array) -> Array:
        mean, spread = predict(new)
        return np.asarray(norm.cdf((-centre / scale - mean) / np.hypot(spread, DOUBT)))

    return probability
