"""A linear layer whose weights stay in compressed sparse rows, and whether that is faster than the dense product.

ONNX Runtime has no sparse kernels on CPUs; this path runs a layer by SciPy, without PyTorch. It wins in large layers of
which nine in ten weights are zero (docs/compression.md), and loses otherwise: `compare` tells.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

Array = NDArray[np.float32]


class SparseLinear:
    """A linear layer, `n x inputs` to `n x outputs`.

    Args:
        weight: `outputs x inputs`.
        bias: `outputs`; None for no bias.
    """

    def __init__(self, weight: Array, bias: Array | None = None) -> None:
        self._weight = scipy.sparse.csr_array(weight)
        self._bias = np.zeros(len(weight), weight.dtype) if bias is None else bias

    @property
    def density(self) -> float:
        """Share of the weights that are not zero."""
        rows, columns = self._weight.shape
        return float(self._weight.nnz / (rows * columns))

    def __call__(self, inputs: Array) -> Array:
        """Map `n x inputs` to `n x outputs`."""
        if len(inputs) == 1:  # a product with a vector does without the loop over columns
            return np.asarray((self._weight @ inputs[0] + self._bias)[None])
        return np.asarray((self._weight @ inputs.T).T + self._bias)


@dataclass(frozen=True)
class PathTimes:
    """The sparse path beside the dense one.

    Attributes:
        dense_us: Median time of the dense product, in microseconds.
        sparse_us: That of the sparse one.
        ratio: Median of dense to sparse time in pairs run one after the other: above 1 the sparse path is faster.
    """

    dense_us: float
    sparse_us: float
    ratio: float

    @property
    def slower_than_dense(self) -> bool:
        """Whether the sparse path should not be taken."""
        return self.ratio < 1


def compare(weight: Array, batch: int = 1, pairs: int = 60) -> PathTimes:
    """Time both paths of a layer in alternation, on random inputs, one thread each.

    Time of the processor is counted, not of the clock: on a busy machine the slower path is interrupted more often.

    Args:
        weight: `outputs x inputs`.
        batch: Rows of the input.
        pairs: So many timings of each; each is over enough calls to last half a millisecond.
    """
    inputs = np.random.default_rng(0).normal(size=(batch, weight.shape[1])).astype(np.float32)
    bias = np.zeros(len(weight), np.float32)
    turned, sparse = np.ascontiguousarray(weight.T), SparseLinear(weight, bias)

    def dense(given: Array) -> Array:
        return np.asarray(given @ turned + bias)

    with threadpool_limits(1):
        calls = max(1, round(5e-4 / min(_seconds(path, inputs, 3) for path in (dense, sparse))))
        times = [(_seconds(dense, inputs, calls), _seconds(sparse, inputs, calls)) for _ in range(pairs)]
    return PathTimes(
        1e6 * statistics.median(a for a, _ in times),
        1e6 * statistics.median(b for _, b in times),
        statistics.median(a / b for a, b in times),
    )


def _seconds(path: Callable[[Array], Array], inputs: Array, calls: int) -> float:
    start = time.thread_time()
    for _ in range(calls):
        path(inputs)
    return (time.thread_time() - start) / calls
