"""The regression model: a Gaussian process over knobs and costs, or a forest where there are many trials."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Hyperparameter, Kernel, Matern, WhiteKernel

Array = NDArray[np.float64]

MAX_EXACT = 1500
"""Maximum number of trials for the Gaussian process, whose time grows with their cube; beyond it, a forest is used."""
TREES, MAX_ROWS_OF_TREE = 32, 1500
"""Number of trees of the forest, and maximum number of trials, drawn anew for each tree, on which a tree grows."""
MAX_TUNED = 256
"""Maximum number of trials on which the kernel is tuned."""
TUNED_EVERY = 1.15
"""Factor by which the number of trials grows until the kernel is tuned again."""
ITERATIONS = 40
JITTER = 1e-8
NOISE, SIGNAL, LENGTH = (1e-5, 1.0), (0.05, 20.0), (0.02, 200.0)
"""Bounds of the kernel's parameters, for targets of variance 1."""


class GroupedMatern(Kernel):  # type: ignore[misc]
    """Matern 5/2 with one length scale for each group of columns, such as the indicators of one choice.

    Attributes:
        length_scale: Length scale of each group.
        groups: Group of each column.

    Source:
        Rasmussen, Williams, Gaussian Processes for Machine Learning, MIT Press 2006, equation 4.17.
    """

    def __init__(self, length_scale: Array, groups: tuple[int, ...]) -> None:
        self.length_scale = length_scale
        self.groups = groups

    @property
    def hyperparameter_length_scale(self) -> Hyperparameter:
        """The length scales, as scikit-learn tunes them."""
        return Hyperparameter("length_scale", "numeric", LENGTH, len(np.atleast_1d(self.length_scale)))

    def __call__(self, x: Array, y: Array | None = None, eval_gradient: bool = False) -> Array | tuple[Array, Array]:
        """Return the kernel matrix, and on demand its gradient with respect to the logarithm of each length scale."""
        lengths = np.atleast_1d(self.length_scale)
        which, other = np.array(self.groups), x if y is None else y
        parts = np.stack(
            [cdist(x[:, which == g], other[:, which == g], "sqeuclidean") / s**2 for g, s in enumerate(lengths)]
        )
        squared = parts.sum(0)
        root = np.sqrt(5 * squared)
        decay = np.exp(-root)
        kernel: Array = (1 + root + 5 / 3 * squared) * decay
        if not eval_gradient:
            return kernel
        return kernel, np.moveaxis(parts * (5 / 3 * (1 + root) * decay), 0, -1)

    def diag(self, x: Array) -> Array:
        """Return the kernel of each row with itself."""
        return np.ones(len(x))

    def is_stationary(self) -> bool:
        """Return True: the kernel depends on differences alone."""
        return True


@dataclass(frozen=True)
class Hyperparameters:
    """The hyperparameters of a Gaussian process.

    Attributes:
        lengths: Length scale of each column.
        signal: Variance of the function.
        noise: Variance of the observations around the function.
    """

    lengths: Array
    signal: float
    noise: float


Predict = Callable[[Array], tuple[Array, Array]]
"""`n x d` inputs -> mean and standard deviation of the function, `n` each."""


def tuned_rows(count: int) -> int:
    """Return the number of the first trials on which the kernel is tuned.

    It depends on the number of trials alone, so that a study opened again finds the same kernel.
    """
    rows = 12.0
    while rows * TUNED_EVERY <= min(count, MAX_TUNED):
        rows *= TUNED_EVERY
    return min(count, int(rows))


def tune(x: Array, y: Array, groups: tuple[int, ...]) -> Hyperparameters:
    """Return the most probable hyperparameters of a Gaussian process.

    The prior scales the length scales with the square root of their number, so that more knobs do not make the model
    more complex.

    Args:
        x: Inputs, `n x d`.
        y: Targets of mean 0 and variance 1, `n`.
        groups: Group of each column, counted from 0.

    Source:
        Hvarfner, Hellsten, Nardi, Vanilla Bayesian Optimization Performs Great in High Dimensions, ICML 2024.
    """
    count = max(groups) + 1
    start = np.log(np.concatenate([[1.0], np.full(count, 0.8 * np.sqrt(count)), [0.01]]))
    width = np.concatenate([[1.0], np.ones(count), [1.5]])

    def optimise(objective: Callable[..., tuple[float, Array]], first: Array, bounds: Array) -> tuple[Array, float]:
        def loss(theta: Array) -> tuple[float, Array]:
            value, gradient = objective(theta)
            off = (theta - start) / width
            return value + 0.5 * float(off @ off), gradient + off / width

        found = minimize(loss, first, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": ITERATIONS})
        return found.x, found.fun

    lengths = np.exp(start[1:-1])
    kernel = ConstantKernel(1.0, SIGNAL) * GroupedMatern(lengths, groups) + WhiteKernel(0.01, NOISE)
    with warnings.catch_warnings():
        # A hyperparameter at its bound means that a knob does not matter, or that there is no noise.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = GaussianProcessRegressor(kernel, alpha=JITTER, optimizer=optimise).fit(x, y).kernel_
    each = np.atleast_1d(found.k1.k2.length_scale)
    return Hyperparameters(each[list(groups)], float(found.k1.k1.constant_value), float(found.k2.noise_level))


def fit(x: Array, y: Array, hyperparameters: Hyperparameters, seed: int = 0) -> Predict:
    """Return the model fitted to `n x d` inputs and `n` targets of mean 0 and variance 1."""
    if len(x) > MAX_EXACT:
        return _fit_trees(x, y, seed)
    kernel: Any = ConstantKernel(hyperparameters.signal) * Matern(1.0, nu=2.5) + WhiteKernel(hyperparameters.noise)
    model = GaussianProcessRegressor(kernel, alpha=JITTER, optimizer=None).fit(x / hyperparameters.lengths, y)

    def predict(new: Array) -> tuple[Array, Array]:
        mean, spread = model.predict(new / hyperparameters.lengths, return_std=True)
        # scikit-learn returns the spread of an observation, which contains the noise; the function has none.
        return mean, np.sqrt(np.maximum(spread**2 - hyperparameters.noise, 1e-10))

    return predict


def left_out_density(x: Array, y: Array, hyperparameters: Hyperparameters, rows: int) -> float:
    """Return the log density of the first targets, each as a model of all the others predicts it, summed.

    Args:
        x: Inputs, `n x d`.
        y: Targets, `n`.
        hyperparameters: Hyperparameters of the model.
        rows: Number of targets that are predicted.

    Source:
        Rasmussen, Williams, Gaussian Processes for Machine Learning, MIT Press 2006, equations 5.10 to 5.12.
    """
    kernel = hyperparameters.signal * Matern(1.0, nu=2.5)(x / hyperparameters.lengths)
    inverse = np.linalg.inv(kernel + (hyperparameters.noise + JITTER) * np.eye(len(x)))
    variance = 1 / np.diag(inverse)[:rows]
    off = (inverse @ y)[:rows] * variance
    return float(-0.5 * (np.log(2 * np.pi * variance) + off**2 / variance).sum())


def _fit_trees(x: Array, y: Array, seed: int) -> Predict:
    """Return extremely randomised trees; the spread of their predictions is the standard deviation.

    Source:
        Hutter, Hoos, Leyton-Brown, Sequential Model-Based Optimization for General Algorithm Configuration,
        LION 2011, section 4.1.
    """
    few = {"bootstrap": True, "max_samples": MAX_ROWS_OF_TREE} if len(x) > MAX_ROWS_OF_TREE else {}
    forest = ExtraTreesRegressor(TREES, min_samples_leaf=2, random_state=seed, **few).fit(x, y)

    def predict(new: Array) -> tuple[Array, Array]:
        each = np.stack([tree.predict(new.astype(np.float32)) for tree in forest.estimators_])
        return each.mean(0), each.std(0) + 1e-5

    return predict
