"""What the size of the forest does to its predictions, beyond the trials at which it replaces the Gaussian process.

    .venv/bin/python benchmarks/forest.py

For each made landscape and seed: a forest fitted to networks drawn at random predicts 2,000 others. Writes
benchmarks/results/forest.json: rank correlation of predicted and true scores, over all and over the truly best tenth,
and the seconds of a fit and of the predictions.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
from landscapes.synthetic import SYNTHETIC
from numpy.typing import NDArray
from scipy.stats import spearmanr

from paredown.search.bench.landscape import Landscape
from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.surrogate import gaussian_process
from paredown.search.samplers.surrogate.output_transform import OutputTransform

ROOT = Path(__file__).parents[1]
SIZES = {"64 trees of 2500": (64, 2500), "32 trees of 1500": (32, 1500)}
"""Number of trees, and maximum number of networks on which each of them grows."""
HELD_OUT = 2000
Array = NDArray[np.float64]


def drawn(landscape: Landscape, count: int, seed: int) -> tuple[Array, Array]:
    """Return inputs and scores of different networks, as the sampler's model sees them."""
    domain, rng = KnobDomain(landscape.distributions, landscape.canonical), np.random.default_rng(seed)
    modelled = next(at for at, goal in enumerate(landscape.goals) if not goal.known)
    networks, losses = {}, []
    while len(losses) < count:
        params = domain.draw(rng)
        values = landscape.outcome(params).values
        if values is not None and domain.key(params) not in networks:
            networks[domain.key(params)] = params
            losses.append(landscape.goals[modelled].loss(values[modelled]))
    params = list(networks.values())
    costs = np.empty((count, 0)) if landscape.costs is None else np.log(landscape.costs.count(params))
    return np.hstack([domain.encode(params), costs]), OutputTransform.of(np.array(losses)).score(np.array(losses))


def measured(landscape: Landscape, rows: int, seed: int) -> dict[str, dict[str, float]]:
    """Return the quality and the time of a forest of each size on the same networks."""
    inputs, scores = drawn(landscape, rows + HELD_OUT, seed)
    held_out, true = inputs[rows:], scores[rows:]
    best, unused = true <= np.quantile(true, 0.1), gaussian_process.Hyperparameters(np.ones(inputs.shape[1]), 1, 0)
    found = {}
    for name, (gaussian_process.TREES, gaussian_process.MAX_ROWS_OF_TREE) in SIZES.items():
        begin = time.process_time()
        predicted, _ = gaussian_process.fit(inputs[:rows], scores[:rows], unused, seed)(held_out)
        found[name] = {
            "cpu_s": time.process_time() - begin,
            "rank_correlation": float(spearmanr(predicted, true).statistic),
            "rank_correlation_of_the_best_tenth": float(spearmanr(predicted[best], true[best]).statistic),
        }
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="zdt1,dtlz2,many", help=f"comma-separated: {', '.join(SYNTHETIC)}")
    parser.add_argument("--rows", default="2000,3500", help="comma-separated numbers of finished trials")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results", help="folder")
    options = parser.parse_args()
    document: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for name in options.only.split(","):
        landscape = SYNTHETIC[name]()
        for rows in map(int, options.rows.split(",")):
            runs = [measured(landscape, rows, seed) for seed in range(options.seeds)]
            document.setdefault(name, {})[str(rows)] = {
                size: {key: round(statistics.fmean(run[size][key] for run in runs), 4) for key in runs[0][size]}
                for size in SIZES
            }
            print(name, rows, json.dumps(document[name][str(rows)]), flush=True)
    (options.out / "forest.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
