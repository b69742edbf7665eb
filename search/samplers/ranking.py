"""Which of many networks are better: ranks by domination, and within a rank by how much room one has."""

import moocore
import numpy as np
from numpy.typing import NDArray


def ranks(losses: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return for each row by how many fronts it is beaten; 0 for those that nothing dominates.

    Args:
        losses: `n x m`, minimised.

    Source:
        Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, IEEE TEC 2002, section III-A.
    """
    if not len(losses):
        return np.empty(0, dtype=np.int64)
    return np.asarray(moocore.pareto_rank(losses), dtype=np.int64)


def crowding(losses: NDArray[np.float64], rank: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the crowding distance of each row among those of its rank; infinite at the ends of a front.

    Source:
        Deb et al. 2002, section III-B.
    """
    distance = np.zeros(len(losses))
    for front in (np.flatnonzero(rank == r) for r in np.unique(rank)):
        for column in losses[front].T:
            order = np.argsort(column, kind="stable")
            values = column[order]
            gaps = np.full(len(front), np.inf)
            if (span := values[-1] - values[0]) > 0:
                gaps[1:-1] = (values[2:] - values[:-2]) / span
                distance[front[order]] += gaps
    return distance


def crowding_order(losses: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the rows in order: by rank, within a rank the least crowded first, then the earliest."""
    rank = ranks(losses)
    return np.lexsort((-crowding(losses, rank), rank))
