"""Ranks networks by domination, by crowding distance within a rank, and by the hypervolume that each one adds."""

import moocore
import numpy as np
from numpy.typing import NDArray


def ranks(losses: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the non-domination rank of each row; 0 for the rows that nothing dominates.

    Args:
        losses: Objectives, minimised, `n x m`.

    Source:
        Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, IEEE TEC 2002, section III-A.
    """
    if not len(losses):
        return np.empty(0, dtype=np.int64)
    return np.asarray(moocore.pareto_rank(losses), dtype=np.int64)


def crowding(losses: NDArray[np.float64], rank: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the crowding distance of each row among the rows of its rank; infinite at the ends of a front.

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
    """Return the rows, best first: by rank, within a rank by falling crowding distance, then by age."""
    rank = ranks(losses)
    return np.lexsort((-crowding(losses, rank), rank))


def hypervolume_order(losses: NDArray[np.float64], reference: NDArray[np.float64], most: int) -> list[int]:
    """Return at most a given number of rows, one after the other the one that adds most hypervolume to those before.

    Args:
        losses: Objectives, minimised, `n x m`.
        reference: Reference point, `m`.
        most: Maximum number of rows.

    Source:
        Guerreiro, Fonseca, Paquete, Greedy Hypervolume Subset Selection in Low Dimensions, Evolutionary Computation
        2016.
    """
    chosen: list[int] = []
    left = list(range(len(losses)))
    while left and len(chosen) < most:
        reached = [moocore.hypervolume(losses[[*chosen, row]], ref=reference) for row in left]
        chosen.append(left.pop(int(np.argmax(reached))))
    return chosen
