"""From which sparsity on is a sparse linear layer faster than the dense one?

ONNX Runtime has no sparse kernels on CPUs, so SciPy multiplies by compressed sparse rows here. One thread, time of the
processor; both paths in alternation; median of the ratios of pairs.

    .venv/bin/python benchmarks/sparse_linear.py

Writes benchmarks/results/sparse_linear.json.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

ROOT = Path(__file__).parents[1]
SIZES = ((64, 64), (256, 256), (1024, 1024), (1000, 4096))
SPARSITIES = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)

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
        pairs: Number of timings of each path; each repeats the product for half a millisecond.
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


def main() -> None:
    """Time all sizes, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/sparse_linear.json")
    options = parser.parse_args()
    rows = []
    blas = sorted({str(info.get("architecture", "")) for info in threadpool_info() if info["user_api"] == "blas"})
    for outputs, inputs in SIZES:
        for batch in options.batches:
            for sparsity in SPARSITIES:
                rng = np.random.default_rng(0)
                weight = rng.normal(size=(outputs, inputs)).astype(np.float32)
                weight[rng.random(weight.shape) < sparsity] = 0
                times = compare(weight, batch, options.pairs)
                row = {"outputs": outputs, "inputs": inputs, "batch": batch, "sparsity": sparsity}
                row |= {"dense_us": round(times.dense_us, 2), "sparse_us": round(times.sparse_us, 2)}
                rows.append(row | {"ratio": round(times.ratio, 3), "slower_than_dense": times.slower_than_dense})
                flag = "slower than dense" if times.slower_than_dense else ""
                print(
                    f"{outputs:5} x {inputs:<5} batch {batch:3} zeros {sparsity:.2f}  dense {times.dense_us:9.1f} us"
                    f"  sparse {times.sparse_us:9.1f} us  dense/sparse {times.ratio:5.2f}  {flag}",
                    flush=True,
                )
    machine = {"processor": platform.machine(), "numpy": np.__version__, "blas": blas}
    options.out.write_text(json.dumps({"machine": machine, "pairs": options.pairs, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
