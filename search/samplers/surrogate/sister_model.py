"""What the networks of sister studies say about those of this study, and how far it is believed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.sampler import Sister
from paredown.search.samplers.surrogate.gaussian_process import MAX_TUNED, Predict, fit, tune
from paredown.search.samplers.surrogate.output_transform import OutputTransform

Array = NDArray[np.float64]

BELIEF = 1.0
"""Number of networks of this study that weigh as much as the assumption that the sisters are right."""
DOUBT_NETWORKS = 2.0
"""Number of networks that weigh as much as the assumption that the sisters explain nothing."""


class SisterModel:
    """Gaussian processes fitted to a sister's networks, one for each objective, as they are asked for.

    Args:
        domain: The knobs of this study.
        sister: The sister's networks, at least two; the first `MAX_TUNED` of them are used.
    """

    def __init__(self, domain: KnobDomain, sister: Sister) -> None:
        rows = slice(0, MAX_TUNED)
        self.params = list(sister.params[rows])
        self._losses, logs = sister.losses[rows], _logs(sister.costs[rows])
        self._centre, self._scale = logs.mean(0), logs.std(0) + 1e-9
        self._groups = domain.groups()
        self._knobs = len(domain.names)
        self._inputs = np.hstack([domain.encode(self.params), (logs - self._centre) / self._scale])
        self._fitted = cache(self._fit)

    def scores(self, objective: int, encoded: Array, costs: Array) -> Array:
        """Return the expected score of each network; the sister's own networks have scores of mean 0 and variance 1.

        Args:
            objective: Index of the objective.
            encoded: Knobs, as the domain encodes them.
            costs: Costs that are known before training.
        """
        inputs = np.hstack([encoded, (_logs(costs) - self._centre) / self._scale])
        return self._fitted(objective)(np.nan_to_num(inputs))[0]

    def _fit(self, objective: int) -> Predict:
        losses = self._losses[:, objective]
        scores = OutputTransform.of(losses).score(losses)
        extra = range(self._knobs, self._knobs + self._inputs.shape[1] - len(self._groups))
        return fit(self._inputs, scores, tune(self._inputs, scores, (*self._groups, *extra)))


@dataclass(frozen=True)
class Trend:
    """The part of this study's scores that follows those which sisters expect.

    Attributes:
        offset: Score of a network of which the sisters expect nothing special.
        weights: Factor of each sister's scores.
        covariance: Uncertainty of the weights, in units of `spread` squared.
        centre: Mean of each sister's scores.
        spread: Standard deviation of what the trend leaves open.
    """

    offset: float
    weights: Array
    covariance: Array
    centre: Array
    spread: float

    @classmethod
    def of(cls, expected: Array, scores: Array) -> "Trend":
        """Return the trend of scores, `n`, over what each of the sisters expects, `n x j`.

        The weights are those of a regression that starts from the belief that all sisters are right together. A sister
        that is wrong loses its weight, and one that is wrong throughout gets a negative one.

        Source:
            Bishop, Pattern Recognition and Machine Learning, Springer 2006, section 3.3, for the regression.
        """
        count = expected.shape[1]
        if not count:
            return cls(0.0, np.empty(0), np.empty((0, 0)), np.empty(0), 1.0)
        centre, offset, belief = expected.mean(0), float(scores.mean()), np.full(count, 1 / count)
        apart = expected - centre
        covariance = np.linalg.inv(apart.T @ apart + BELIEF * np.eye(count))
        weights = belief + covariance @ apart.T @ (scores - offset - apart @ belief)
        rest = scores - offset - apart @ weights
        spread = float(np.sqrt((rest @ rest + DOUBT_NETWORKS) / (len(rest) + DOUBT_NETWORKS)))
        return cls(offset, weights, covariance, centre, spread)

    def rest(self, expected: Array, scores: Array) -> Array:
        """Return what the trend leaves open, as scores of about variance 1."""
        return (scores - self._mean(expected)) / self.spread

    def added_to(self, expected: Array, mean: Array, spread: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of scores, given those of what the trend leaves open."""
        apart = expected - self.centre
        unsure = np.einsum("ij,jk,ik->i", apart, self.covariance, apart)
        return self._mean(expected) + self.spread * mean, self.spread * np.sqrt(spread**2 + unsure)

    def _mean(self, expected: Array) -> Array:
        return np.asarray(self.offset + (expected - self.centre) @ self.weights)


def expected_scores(sisters: Sequence[SisterModel], objective: int, encoded: Array, costs: Array) -> Array:
    """Return the score that each sister expects of each network, `n x j`."""
    columns = [sister.scores(objective, encoded, costs) for sister in sisters]
    return np.stack(columns, axis=1) if columns else np.empty((len(encoded), 0))


def _logs(costs: Array) -> Array:
    return np.log(np.maximum(costs, 1e-12))
