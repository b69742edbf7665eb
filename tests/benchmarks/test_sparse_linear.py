"""The sparse path of a linear layer, as the benchmark runs it."""

import numpy as np
import pytest
from sparse_linear import PathTimes, SparseLinear, compare

RANDOM = np.random.default_rng(0)
WEIGHT = np.where(RANDOM.random((20, 30)) < 0.2, RANDOM.normal(size=(20, 30)), 0).astype(np.float32)


@pytest.mark.parametrize("batch", [1, 2, 9])
@pytest.mark.parametrize("biased", [False, True])
def test_gives_what_the_dense_layer_gives(batch: int, biased: bool) -> None:
    inputs = RANDOM.normal(size=(batch, 30)).astype(np.float32)
    bias = RANDOM.normal(size=20).astype(np.float32) if biased else None
    expected = inputs @ WEIGHT.T + (0 if bias is None else bias)
    actual = SparseLinear(WEIGHT, bias)(inputs)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_density_by_hand() -> None:
    assert SparseLinear(np.eye(4, dtype=np.float32)).density == 0.25
    assert SparseLinear(np.zeros((2, 3), np.float32))(np.ones((1, 3), np.float32)).tolist() == [[0, 0]]


def test_a_path_that_loses_is_flagged() -> None:
    assert PathTimes(1.0, 2.0, 0.5).slower_than_dense
    assert not PathTimes(2.0, 1.0, 2.0).slower_than_dense


def test_both_paths_are_timed() -> None:
    times = compare(WEIGHT, batch=2, pairs=3)
    assert min(times.dense_us, times.sparse_us, times.ratio) > 0
