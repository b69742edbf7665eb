"""Whether training beside a measurement changes the latency that it finds, and whether keeping it off the core helps.

A process trains a convolutional network as trials do. Models are measured against a reference by the protocol of
`latency_ms` on the last core of the machine, in turns: while that process is stopped, while it trains on the other
cores, and while it trains on the very core that measures. The medians over all rounds are compared with those of the
stopped process.

    .venv/bin/python benchmarks/training_beside.py

Writes benchmarks/results/training_beside.json.
"""

import argparse
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np

from paredown.evaluators.device import this_device
from paredown.evaluators.latency.block_networks import block_network
from paredown.evaluators.measurement_lock import measurement_lock
from paredown.evaluators.metrics.latency_ms import PAIRS, clock, paired_times, runner

RESULTS = Path(__file__).parent / "results"
REFERENCE = 5
MODELS = {"0.2 MB fp32": (0, "fp32"), "6 MB fp32": (36, "fp32"), "6 MB int8": (36, "int8")}
WAYS = ("stopped", "on other cores", "on the core that measures")
SETTLE_S = 0.3


def train() -> None:
    """Train a network of some convolutions, without an end."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    network = nn.Sequential(
        *(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1),
            nn.BatchNorm2d(64),
        ),
        *(nn.ReLU(), nn.Conv2d(64, 128, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)),
    )
    optimizer = torch.optim.AdamW(network.parameters())
    images, labels = torch.randn(64, 3, 32, 32), torch.randint(0, 10, (64,))
    while True:
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()


def stay_on(pid: int, cores: set[int]) -> None:
    """Keep all threads of a process on some cores."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


def arrange(pid: int, way: str, cores: list[int]) -> None:
    """Let the training process run as a way says."""
    os.kill(pid, signal.SIGSTOP if way == "stopped" else signal.SIGCONT)
    stay_on(pid, {cores[-1]} if way == WAYS[2] else set(cores[:-1]))
    time.sleep(SETTLE_S)


def measured(rounds: int, pid: int, cores: list[int]) -> dict[str, dict[str, list[list[float]]]]:
    """Return ratio and own time in ms of each model in each way and round."""
    reference, shape = block_network(REFERENCE, "fp32")
    models = {name: block_network(*which) for name, which in MODELS.items()}
    beside, runs = runner(reference, shape), {name: runner(*model) for name, model in models.items()}
    found: dict[str, dict[str, list[list[float]]]] = {name: {way: [] for way in WAYS} for name in MODELS}
    for round_ in range(rounds):
        for at in np.roll(np.arange(len(WAYS)), round_):
            arrange(pid, WAYS[at], cores)
            for name, run in runs.items():
                own, other = paired_times(run, beside, PAIRS, clock(1))
                ratio = float(np.median(own.slices / other.slices))
                found[name][WAYS[at]].append([ratio, 1e3 * float(np.median(own.slices))])
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=RESULTS / "training_beside.json")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    process = multiprocessing.get_context("spawn").Process(target=train, daemon=True)
    process.start()
    assert process.pid is not None
    try:
        time.sleep(10)
        os.sched_setaffinity(0, {cores[-1]})
        with measurement_lock():
            found = measured(options.rounds, process.pid, cores)
    finally:
        os.kill(process.pid, signal.SIGCONT)
        process.kill()
        process.join()
    document: dict[str, object] = {"device": str(this_device()), "rounds": options.rounds, "cores": len(cores)}
    document["load_average"] = round(os.getloadavg()[0], 2)
    for name, ways in found.items():
        alone = np.median(ways["stopped"], axis=0)
        for way, values in ways.items():
            ratio, own_ms = np.median(values, axis=0)
            document[f"{name}, training {way}"] = {
                "own_ms": round(float(own_ms), 5),
                "own_to_stopped": round(float(own_ms / alone[1]), 4),
                "ratio": round(float(ratio), 4),
                "ratio_to_stopped": round(float(ratio / alone[0]), 4),
                "spread_of_ratios": round(float(np.std([value[0] for value in values]) / ratio), 4),
            }
    options.out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
