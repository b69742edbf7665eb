"""The share of the true front's hypervolume that the evaluated networks reach, with its confidence interval."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import moocore
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from paredown.search.bench.landscape import Landscape
from paredown.search.bench.race import Run


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: Mean over the seeds.
        half_width: Half the width of the 95 % confidence interval of the mean; None for a single seed.
    """

    mean: float
    half_width: float | None


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean and its 95 % confidence interval by Student's t."""
    if len(values) < 2:
        return Estimate(statistics.fmean(values), None)
    error = statistics.stdev(values) / math.sqrt(len(values))
    return Estimate(statistics.fmean(values), float(stats.t.ppf(0.975, len(values) - 1)) * error)


def full_volume(landscape: Landscape, runs: Iterable[Run]) -> float:
    """Return the hypervolume of the true front; for an incomplete landscape, that of all evaluated networks."""
    known = [landscape.best_losses()]
    if not landscape.complete:
        known += [
            np.array([one for one in run.losses if one is not None]).reshape(-1, len(landscape.goals)) for run in runs
        ]
    return float(moocore.hypervolume(np.vstack(known), ref=landscape.reference))


def shares(run: Run, reference: NDArray[np.float64], whole: float) -> list[float]:
    """Return the share of the hypervolume after each evaluation."""
    front, share, curve = np.empty((0, len(reference))), 0.0, []
    for one in run.losses:
        if one is not None:
            point = np.array(one)
            if not (front <= point).all(1).any():
                front = np.vstack([front[~(point <= front).all(1)], point])
                share = float(moocore.hypervolume(front, ref=reference)) / whole
        curve.append(share)
    return curve
