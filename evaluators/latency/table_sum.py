"""First guess of a node's time: a table of costs by class, for its call, steps, bytes and what is left over.

Each class has a row of costs for floating-point numbers and one for each layout of integers, none below zero, found by
least squares on relative errors, with a penalty on large ones: what few nodes have would take the noise of these. The
sum over a network's nodes is what look-up tables promise, and `paredown.evaluators.latency.predictor` corrects it.

Source:
    Lawson, Hanson, Solving Least Squares Problems, 1974, chapter 23 (NNLS).
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from paredown.evaluators.latency.node_features import ACTIVATIONS, AT_CLASS, CLASSES, Array

SHORTEST_US = 0.15
FEWEST = 5
ROWS = 3
"""Rows of a class: floating-point numbers, integers whose channels are first, and integers whose channels are last."""
PENALTY = 0.02
"""Weight of the square of each cost beside the squares of relative errors."""
USUAL = 0.2
"""Relative error from which on an error counts linearly: something else has slowed the node."""
ROUNDS = 5
"""Fits of a class, each with weights by the one before: errors weigh by their share of measured and guessed alike."""
WARM_BYTES, BUFFER_BYTES = 5e5, 3e5
"""Weights of a network, and results of a node, that the second-level cache holds beside what else it holds."""
FAR_BYTES = 1.2e7
"""Weights of a network that the third-level cache holds."""
STREAMED_BYTES = 24
"""Weights that a step can take from the third-level cache while it computes; more than that is waited for."""
CACHE_BYTES = 1e6
"""What a node reads and writes beyond which the second-level cache does not hold it."""
SCALES = {
    **dict.fromkeys(("steps", "waits", "streamed", "unrolled", "traffic", "pooled", "scattered", "recoded"), 1e4),
    **dict.fromkeys(("elements_out", "elements_in", "smaller_in", "fetched", "one_by_one", "narrow"), 1e4),
    **dict.fromkeys(("lines", "vectors", "unaligned", "has_remainder", "eights", "fours", "ones"), 1e3),
    **dict.fromkeys(("depth_remainder", "positions", "runs", "copies", "pointers", "windows", "spans"), 1e3),
    **{"checked": 1e3, "packed": 1e4, "strided": 1e4, "aliased": 1e4, "products": 1e1, "tasks": 1.0},
    **{"macs": 1e5, "calls": 1e2, "tiles": 1e2, "channels_out": 1e2, "inputs": 1.0},
}
"""Counts with a cost of their own, and what they are divided by, so that all costs are of one size."""


def groups_of(counts: dict[str, Array]) -> NDArray[np.int64]:
    """Return which row of the table each node belongs to."""
    row = (counts["is_int8"] > 0) * (1 + (counts["is_last"] > 0))
    own = np.where(counts["class"] == AT_CLASS["blocked_grouped"], AT_CLASS["blocked_convolution"], counts["class"])
    return np.asarray(own * ROWS + row, dtype=np.int64)


def costs_of(counts: dict[str, Array]) -> Array:
    """Return what each cost of the table is multiplied by: one row a node."""
    size = np.where(counts["is_int8"] > 0, 1, 4)
    elements, weights = counts["elements_out"] / 1e4, counts["fetched"] * size
    cold = weights * np.clip(1 - WARM_BYTES / np.maximum(counts["network_weight_bytes"], 1), 0, 1)
    awaited = np.maximum(0, cold / STREAMED_BYTES - counts["steps"] - counts["waits"])
    moved = (counts["elements_out"] + counts["elements_in"]) * size
    columns = [
        np.ones(len(elements)),
        *(counts[name] / scale for name, scale in SCALES.items()),
        *(elements * (counts["activation"] == at) for at in range(1, len(ACTIVATIONS))),
        counts["groups"] * (counts["groups"] > 1) * (counts["calls"] == 0) / 10,
        awaited / 1e4,
        weights * np.clip(1 - FAR_BYTES / np.maximum(counts["network_weight_bytes"], 1), 0, 1) / 1e4,
        np.maximum(0, moved - 4e4) / 1e4,
        np.maximum(0, 4 * counts["elements_out"] - BUFFER_BYTES) / 1e4,
        np.maximum(0, moved - CACHE_BYTES) / 1e4,
        np.maximum(0, weights - WARM_BYTES) / 1e4,
        counts["far"] / 1e4,
        elements * counts["adds"],
        counts["is_first"] * counts["elements_in"] / 1e4,
    ]
    return np.stack(columns, axis=1)


def fitted_table(costs: Array, groups: NDArray[np.int64], nodes_us: Array) -> Array:
    """Return the table: `3 x classes` rows of costs.

    Args:
        costs: What `costs_of` says of nodes.
        groups: Row of the table of each.
        nodes_us: What each of them took.
    """
    table = np.zeros((ROWS * len(CLASSES), costs.shape[1]))
    penalty = math.sqrt(PENALTY) * np.eye(costs.shape[1])[1:]  # a call itself costs what it costs
    known = np.bincount(groups, minlength=len(table)) >= FEWEST
    for group in np.flatnonzero(known):
        own = groups == group
        measured = guessed = nodes_us[own]
        for _ in range(ROUNDS):
            weight = 1 / (np.sqrt(measured * np.maximum(guessed, 0.1 * measured)) + 0.5)
            weight = weight * np.sqrt(np.minimum(1, USUAL / np.maximum(abs(measured - guessed) * weight, 1e-9)))
            relative = np.concatenate([costs[own] * weight[:, None], penalty])
            table[group] = nnls(relative, np.concatenate([measured * weight, np.zeros(len(penalty))]))[0]
            guessed = costs[own] @ table[group]
    first, last = (np.arange(at, len(table), ROWS) for at in (1, 2))
    for few, other in ((first, last), (last, first)):  # one layout of integers tells of the other
        table[few[~known[few]]] = table[other[~known[few]]]
    return table


def guessed_us(costs: Array, groups: NDArray[np.int64], table: Array) -> Array:
    """Return the time of each node by one table or by each of several, in microseconds: `[tables] x nodes`."""
    return np.asarray(np.maximum(np.einsum("nc,...nc->...n", costs, table[..., groups, :]), SHORTEST_US))
