"""Transforms losses to scores for a model: fine among good losses, coarse among bad ones, robust to outliers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

Array = NDArray[np.float64]

LOWEST_SCORE, HIGHEST_SCORE = -4.0, 4.0
RANK_WEIGHT = 0.3
"""Weight of the rank in a score, beside the loss itself."""


@dataclass(frozen=True)
class OutputTransform:
    """A monotone, piecewise linear map between losses and normal scores, extrapolated beyond the observed losses.

    Attributes:
        losses: Losses, increasing.
        scores: Score of each loss, increasing.
    """

    losses: Array
    scores: Array

    @classmethod
    def of(cls, losses: Array) -> "OutputTransform":
        """Return the map for the given losses: their scores have mean 0 and variance 1.

        A score is the sum of two terms: the normal score of the rank, which no outlier moves but which blurs the
        distances among the best; and the loss itself, in units of the distance from the best tenth to the median,
        on a logarithmic scale above the median.

        Source:
            Blom, Statistical Estimates and Transformed Beta Variables, Wiley 1958, for normal scores; the
            weight of the two terms was chosen by measurement (docs/decisions/0006).
        """
        ranks = norm.ppf((rankdata(losses) - 0.375) / (len(losses) + 0.25))
        best, median = np.quantile(losses, [0.1, 0.5])
        distances = (losses - median) / (median - best + 1e-9 * (1 + abs(median)))
        distances = np.where(distances > 0, np.log1p(np.maximum(distances, 0)), distances)
        scores = RANK_WEIGHT * ranks / (ranks.std() + 1e-12) + distances / (distances.std() + 1e-12)
        unique, first = np.unique(losses, return_index=True)
        if len(unique) == 1:
            return cls(np.array([unique[0], unique[0] + 1.0]), np.array([0.0, 1.0]))
        return cls(unique, ((scores - scores.mean()) / scores.std())[first])

    def score(self, losses: Array) -> Array:
        """Return the score of each loss."""
        return np.clip(_through(losses, self.losses, self.scores), LOWEST_SCORE, HIGHEST_SCORE)

    def loss(self, scores: Array) -> Array:
        """Return the loss of each score."""
        return _through(scores, self.scores, self.losses)


def _through(values: Array, x: Array, y: Array) -> Array:
    """Interpolate; beyond the ends, extrapolate with the mean slope of the outer sixth."""
    outer = max(1, len(x) // 6)
    below = y[0] + (values - x[0]) * (y[outer] - y[0]) / (x[outer] - x[0])
    above = y[-1] + (values - x[-1]) * (y[-1] - y[-1 - outer]) / (x[-1] - x[-1 - outer])
    return np.where(values < x[0], below, np.where(values > x[-1], above, np.interp(values, x, y)))
