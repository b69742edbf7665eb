"""How much slower a network is in one process than in another, on ordinary and on huge pages of memory.

Each process opens one convolution of 288 channels in 36 groups, as integers and as floating-point numbers, and the
first reference of a profile, and tells the shortest time of each. Processes with and without huge pages (glibc's
tunable `glibc.malloc.hugetlb=1`) alternate.

    .venv/bin/python benchmarks/latency_processes.py

Writes benchmarks/results/latency_processes.json.
"""

import argparse
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import nn

from paredown.evaluators.device import this_device
from paredown.evaluators.files.onnx_model import export
from paredown.evaluators.latency.bench import REFERENCES
from paredown.evaluators.latency.block_networks import block_network
from paredown.evaluators.latency.random_networks import in_format
from paredown.evaluators.latency.undisturbed import shortest
from paredown.evaluators.metrics.latency_ms import clock, runner

RESULTS = Path(__file__).parent / "results" / "latency_processes.json"
CHANNELS, GROUPS, SIDE, WINDOW = 288, 36, 24, 7
RUNS = 200
TUNABLES, HUGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
Models = dict[str, bytes]


def models() -> Models:
    """Return the convolution in both formats."""
    torch.manual_seed(0)
    network = nn.Conv2d(CHANNELS, CHANNELS, WINDOW, groups=GROUPS, padding=WINDOW // 2).eval()
    shape = (CHANNELS, SIDE, SIDE)
    exported = export(network, shape)
    return {name: in_format(exported, name, shape) for name in ("fp32", "int8")}


def least_ms(given: Models) -> dict[str, float]:
    """Return the shortest time of the reference and of each model in this process, in ms."""
    shape = (CHANNELS, SIDE, SIDE)
    runs = {"reference": runner(*block_network(*REFERENCES[0]))} | {n: runner(m, shape) for n, m in given.items()}
    return {name: 1e3 * shortest(run, RUNS, clock(1)) for name, run in runs.items()}


def spread(found: list[dict[str, float]]) -> dict[str, object]:
    """Return the times of each model in all processes, and how far they are apart."""
    return {
        name: {
            "least_ms": (times := sorted(round(one[name], 4) for one in found)),
            "slowest_to_fastest": round(times[-1] / times[0], 3),
            "standard_deviation_percent": round(100 * float(np.std(np.log(times))), 2),
        }
        for name in found[0]
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    given, found = models(), {"ordinary_pages": list[dict[str, float]](), "huge_pages": list[dict[str, float]]()}
    for at in range(2 * options.processes):
        name = ("ordinary_pages", "huge_pages")[at % 2]
        os.environ[TUNABLES] = HUGE_PAGES if name == "huge_pages" else ""
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as one:
            found[name].append(one.submit(least_ms, given).result())
    document = {
        "device": str(this_device()),
        "load_average": round(os.getloadavg()[0], 2),
        **{name: spread(each) for name, each in found.items()},
    }
    options.out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
