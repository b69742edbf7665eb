"""The table of costs: found by least squares, with costs that few nodes tell of kept small."""

import numpy as np
import pytest

from paredown.evaluators.latency.node_features import CLASSES
from paredown.evaluators.latency.table_sum import FEWEST, ROWS, SCALES, fitted_table, guessed_us

NODES, COSTS = 400, 60
STEPS, ONES = 1 + list(SCALES).index("steps"), 1 + list(SCALES).index("ones")


@pytest.fixture
def costs() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    costs = np.zeros((NODES, COSTS))
    costs[:, 0] = 1
    costs[:, STEPS] = np.random.default_rng(0).uniform(0, 20, NODES)
    return costs


def test_costs_that_many_nodes_tell_of_are_found(costs: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    groups = np.zeros(NODES, dtype=np.int64)
    taken = 0.5 + 2 * costs[:, STEPS]
    table = fitted_table(costs, groups, taken)
    assert table.shape == (ROWS * len(CLASSES), COSTS)
    assert table[0, [0, STEPS]] == pytest.approx([0.5, 2], rel=0.01)
    assert guessed_us(costs, groups, table) == pytest.approx(taken, rel=0.02)


def test_what_few_nodes_have_does_not_take_their_noise(
    costs: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> None:
    taken = 0.5 + 2 * costs[:, STEPS]
    costs[:3, ONES] = 0.05  # three nodes, each slower than its steps explain
    taken[:3] += 2.0
    table = fitted_table(costs, np.zeros(NODES, dtype=np.int64), taken)
    assert table[0, ONES] < 10, "without a penalty it would be 40, and a node with twenty times as many ones be absurd"


def test_some_nodes_that_something_else_slowed_do_not_count_much(
    costs: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> None:
    taken = 0.5 + 2 * costs[:, STEPS]
    taken[::10] *= 3
    table = fitted_table(costs, np.zeros(NODES, dtype=np.int64), taken)
    assert table[0, STEPS] == pytest.approx(2, rel=0.05), "least squares alone says 2.4"


def test_one_layout_of_integers_tells_of_the_other(
    costs: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> None:
    groups = np.full(NODES, 1, dtype=np.int64)
    groups[: FEWEST - 1] = 2
    table = fitted_table(costs, groups, 1 + costs[:, STEPS])
    assert table[2] == pytest.approx(table[1])
    assert not table[0].any()
