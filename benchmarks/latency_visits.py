"""How well a short measurement of a network repeats: in one stretch, or in visits seconds apart.

Random networks of the product's families are measured beside the first reference of a profile, in one process (a
profile takes two, by turns), again and again in rounds: each for 0.15 s at once, and for 0.05 s, three of which in a
row of rounds are one measurement in visits. Both arms are told apart from how far their measurements of a
network lie from the median of that network in that arm.

Then two fresh processes visit the same networks, one opening each for every visit, one keeping 33 of them open:
`later` is by what share all networks together take longer in the last third of the visits than in the first.

    .venv/bin/python benchmarks/latency_visits.py

Writes benchmarks/results/latency_visits.json.
"""

import argparse
import json
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from latency_predictor import held_out
from numpy.typing import NDArray

from paredown.evaluators.device import this_device
from paredown.evaluators.latency.bench import REFERENCES
from paredown.evaluators.latency.block_networks import block_network
from paredown.evaluators.latency.random_networks import RandomNetwork
from paredown.evaluators.latency.undisturbed import Visited
from paredown.evaluators.metrics.latency_ms import runner

RESULTS = Path(__file__).parent / "results" / "latency_visits.json"
KEPT_OPEN, VISITS, WHOLE_S = 33, 3, 0.15
Logarithms = NDArray[np.float64]


def of(network: RandomNetwork) -> Callable[[], object]:
    """Return a run of a network."""
    return runner(network.model, network.shape)


def rounds(networks: Sequence[RandomNetwork], often: int) -> tuple[Logarithms, Logarithms]:
    """Return logarithms of ratios to the reference, `measurements x networks`: in one stretch, and in visits."""
    reference = runner(*block_network(*REFERENCES[0]))
    stretches, visits = [], []
    for at in range(often):
        if at % VISITS == 0:
            visits.append([Visited(reference, 1) for _ in networks])
        stretches.append([Visited(reference, 1) for _ in networks])
        for network, whole, part in zip(networks, stretches[-1], visits[-1], strict=True):
            whole.visit(of(network), WHOLE_S)
            part.visit(of(network), WHOLE_S / VISITS)
    both = (np.log([[one.ratio for one in row] for row in arm]) for arm in (stretches, visits))
    return next(both), next(both)


def spread(found: Logarithms) -> dict[str, float]:
    """Return how far measurements lie from the median of their network, as a share."""
    errors = np.abs(found - np.median(found, axis=0))
    return {
        "measurements": found.size,
        "standard_deviation": float(np.sqrt((errors**2).mean())),
        "median": float(np.median(errors)),
        "beyond_2_percent": float((errors > 0.02).mean()),
        "beyond_5_percent": float((errors > 0.05).mean()),
    }


def later(networks: Sequence[RandomNetwork], often: int, kept: int) -> float:
    """Return by what share networks take longer in the last third of some rounds of visits than in the first."""
    reference, opened = runner(*block_network(*REFERENCES[0])), deque[Callable[[], object]](maxlen=kept)
    found = []
    for _ in range(often):
        row = []
        for network in networks:
            times, run = Visited(reference, 1), of(network)
            opened.append(run)
            times.visit(run, WHOLE_S / VISITS)
            row.append(times.ratio)
        found.append(row)
    logs, third = np.log(found), often // 3
    return float(np.expm1(np.median(np.median(logs[-third:], axis=0) - np.median(logs[:third], axis=0))))


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    networks = list(islice(held_out(("fp32", "int8")), options.networks))
    stretch, visits = rounds(networks, options.rounds)
    ages = {}
    for name, kept in (("opened_for_each_visit", 1), (f"{KEPT_OPEN}_kept_open", KEPT_OPEN)):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as own_process:
            ages[name] = own_process.submit(later, networks, options.rounds // 2, kept).result()
    document = {
        "device": str(this_device()),
        "load_average": round(os.getloadavg()[0], 2),
        "networks": [f"{network.name} {network.format}" for network in networks],
        "seconds": WHOLE_S,
        "visits": VISITS,
        "in_one_stretch": spread(stretch),
        "in_visits": spread(visits),
        "later": ages,
    }
    options.out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
