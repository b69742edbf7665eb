"""The chance of a network to be allowed, learned from those that kept or broke a constraint, or failed."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from paredown.search.samplers.surrogate.gaussian_process import Hyperparameters, Predict, fit, tuned_rows

Array = NDArray[np.float64]

DOUBT = 0.1
"""Standard deviation added to the model's, in units of the values' own."""

FeasibilityModel = Callable[[Array], Array]
"""`n x d` inputs -> probability of each to be allowed."""


def fit_feasibility(inputs: Array, values: Array, tuned: Callable[[Array, Array], Hyperparameters]) -> FeasibilityModel:
    """Return the probability that a quantity is not positive.

    Args:
        inputs: `n x d`.
        values: `n`; what is far beyond the border is clipped, since its size says nothing of where that lies.
        tuned: From inputs and targets to the model's parameters.
    """
    rows = tuned_rows(len(values))
    bound = 3 * np.median(np.abs(values)) + 1e-9
    clipped = np.clip(values, -bound, bound)
    centre, scale = clipped[:rows].mean(), clipped[:rows].std() + 1e-9
    scores = (clipped - centre) / scale
    predict: Predict = fit(inputs, scores, tuned(inputs[:rows], scores[:rows]))

    def chance(new: Array) -> Array:
        mean, spread = predict(new)
        return np.asarray(norm.cdf((-centre / scale - mean) / np.hypot(spread, DOUBT)))

    return chance
