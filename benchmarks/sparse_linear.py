"""From which sparsity on is a sparse linear layer faster than the dense one?

One thread, time of the processor; both paths in alternation; median of the ratios of pairs.

    .venv/bin/python benchmarks/sparse_linear.py

Writes benchmarks/results/sparse_linear.json.
"""

import argparse
import json
import platform
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

from paredown.evaluators.packing.sparse_linear import compare

ROOT = Path(__file__).parents[1]
SIZES = ((64, 64), (256, 256), (1024, 1024), (1000, 4096))
SPARSITIES = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)


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
