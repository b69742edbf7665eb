"""First guess of a kernel's time: a table of costs by class, for its call, arithmetic, bytes and activation.

Each class has one row of costs for integers and one for floating-point numbers, none below zero, found by least squares
on relative errors. The sum over a network's kernels is what look-up tables promise, and
`paredown.evaluators.latency.predictor` corrects it.

Source:
    Lawson, Hanson, Solving Least Squares Problems, 1974, chapter 23 (NNLS).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from paredown.evaluators.latency.kernels import ACTIVATION_KINDS, CLASSES, FEATURES

Array = NDArray[np.float64]
SHORTEST_US = 0.2
FEWEST = 5
AT = {name: at for at, name in enumerate(FEATURES)}


def groups_of(rows: Array) -> NDArray[np.int64]:
    """Return which row of the table each kernel belongs to."""
    integers = (rows[:, AT["int8_in"]] > 0).astype(np.int64)
    return np.asarray(rows[:, : len(CLASSES)].argmax(axis=1) * 2 + integers)


def costs_of(rows: Array) -> Array:
    """Return what each cost of the table is multiplied by: one row a kernel."""
    size = {name: 2 ** rows[:, AT[name]] - 1 for name in ("macs", "bytes_in", "bytes_out", "weight_bytes", "unrolled")}
    macs, unrolled = size["macs"] / 1e5, size["unrolled"] / 1e4
    elements = (2 ** rows[:, AT["positions_out"]] - 1) * (2 ** rows[:, AT["channels_out"]] - 1) / 1e4
    flags = {
        name: rows[:, AT[name]] for name in ("odd_out", "odd_in_4", "few_in", "few_out", "before_convolution", "adds")
    }
    columns = [np.ones(len(rows)), macs, unrolled, elements, 2 ** rows[:, AT["groups"]] - 1]
    columns += [size[name] / 1e4 for name in ("bytes_in", "bytes_out", "weight_bytes")]
    columns += [macs * flags[name] for name in ("odd_out", "odd_in_4", "few_in", "few_out", "before_convolution")]
    columns += [unrolled * flags[name] for name in ("few_in", "few_out")]
    columns += [elements * rows[:, AT[f"activation_{kind}"]] for kind in ACTIVATION_KINDS[1:]]
    return np.stack([*columns, elements * flags["adds"]], axis=1)


def fitted_table(rows: Array, kernels_us: Array) -> Array:
    """Return the table: `2 x classes` rows of costs.

    Args:
        rows: Features of kernels.
        kernels_us: What each of them took.
    """
    costs, groups = costs_of(rows), groups_of(rows)
    table = np.zeros((2 * len(CLASSES), costs.shape[1]))
    for group in np.unique(groups):
        own = groups == group
        if own.sum() >= FEWEST:
            weight = 1 / (kernels_us[own] + 1)
            table[group] = nnls(costs[own] * weight[:, None], kernels_us[own] * weight)[0]
    return table


def guessed_us(rows: Array, table: Array) -> Array:
    """Return the time of each kernel by a table, in microseconds."""
    return np.asarray(np.maximum((costs_of(rows) * table[groups_of(rows)]).sum(axis=1), SHORTEST_US))
