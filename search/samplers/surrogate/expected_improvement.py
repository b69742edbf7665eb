"""Expected hypervolume improvement where one objective is modelled and the others are known."""

from collections.abc import Sequence

import moocore
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MAX_CELLS = 14_000
"""Maximum number of cells of the space of costs; for a larger front, costs near each other are taken as equal."""
CANDIDATES_AT_ONCE = 256
"""Number of candidates that are computed together, so that memory stays small."""


def expected_improvement(front: Array, reference: Array, losses: Array, weights: Array, costs: Array) -> Array:
    """Return the expected hypervolume improvement of each candidate, exact up to the quadrature of the loss.

    At each point of the space of costs, the front reaches down to some loss. Wherever its costs are lower, a candidate
    gains the expected excess of that loss over its own; the sum runs over cells of equal loss.

    Args:
        front: Points of the front, minimised, `k x m`: the modelled loss first, then the known costs.
        reference: Reference point, `m`.
        losses: Quadrature points of each candidate's loss, `p x j`.
        weights: Weights of the quadrature points, `j`; their sum is 1.
        costs: Known costs of each candidate, `p x (m - 1)`.

    Source:
        Emmerich, Deutz, Klinkenberg, Hypervolume-Based Expected Improvement, CEC 2011, section III, for the
        cells; here all axes but one are deterministic.
    """
    points = front[(front < reference).all(1)]
    if len(points):
        points = points[moocore.is_nondominated(points)]
    edges, levels = _cells(points, reference)
    values, which = np.unique(levels.ravel(), return_inverse=True)
    # p x K: the expected excess over each level at which the front can lie
    excess = np.clip(values[None, :, None] - losses[:, None, :], 0, None) @ weights
    gains = np.empty(len(costs))
    for at in range(0, len(costs), CANDIDATES_AT_ONCE):
        rows = slice(at, at + CANDIDATES_AT_ONCE)
        gains[rows] = (_volumes(edges, costs[rows]) * excess[rows][:, which]).sum(1)
    return gains


def _cells(points: Array, reference: Array) -> tuple[list[Array], Array]:
    """Return the edges of the cells along each axis of costs, and the front's loss in each cell."""
    axes = len(reference) - 1
    most = int(MAX_CELLS ** (1 / axes)) - 1 if axes else 0
    edges, places = [], []
    for axis in range(axes):
        coordinates = np.unique(points[:, axis + 1])
        if len(coordinates) > most:
            coordinates = coordinates[np.unique(np.linspace(0, len(coordinates) - 1, most).round().astype(int))]
        edges.append(np.concatenate([[-np.inf], coordinates, [reference[axis + 1]]]))
        # A point whose coordinate was dropped counts from the next one on, so that the gain is not underestimated.
        places.append(np.searchsorted(coordinates, points[:, axis + 1]) + 1)
    levels = np.full([len(e) - 1 for e in edges], reference[0])
    if axes:
        np.minimum.at(levels, tuple(places), points[:, 0])
    elif len(points):
        levels[()] = points[:, 0].min()
    for axis in range(axes):
        levels = np.minimum.accumulate(levels, axis)
    return edges, levels


def _volumes(edges: Sequence[Array], costs: Array) -> Array:
    """Return, `p x cells`, the volume of each cell that costs at least as much as the candidate on every axis."""
    volumes = np.ones((len(costs), 1))
    for axis, edge in enumerate(edges):
        low = np.maximum(edge[None, :-1], costs[:, axis, None])
        width = np.clip(edge[None, 1:] - low, 0, None)
        volumes = (volumes[:, :, None] * width[:, None, :]).reshape(len(costs), -1)
    return volumes
