"""Processor time of training with and without the memory that a process keeps (`evaluators/training/freed_memory.py`).

The default study's baseline and a ResNet for 32 x 32 images are trained for some epochs on random images, each time in
a process of its own, in turns. Processor seconds, pages asked of the system and the most memory held.

    .venv/bin/python benchmarks/freed_memory.py --rounds 5

Writes benchmarks/results/freed_memory.json: medians, and the ratio of processor seconds with its spread.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "freed_memory.json"
NETWORKS = {"mbconv": (20, 1078), "resnet": (32, 512)}
"""Side of the images and their number, by family: the default study's, and those of larger photos."""
EPOCHS = 4
MEASURES = ("processor_s", "pages", "most_held_mb")


def main() -> None:
    """Run all arms in turns, write the document and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(trained(options.one[0], options.one[1] == "kept")))
        return
    found: dict[str, Any] = {}
    for name in NETWORKS:
        runs: dict[str, list[dict[str, float]]] = {"kept": [], "returned": []}
        for at in range(options.rounds):
            for way in sorted(runs, reverse=bool(at % 2)):
                runs[way].append(_run(name, way))
        ratios = [a["processor_s"] / b["processor_s"] for a, b in zip(runs["kept"], runs["returned"], strict=True)]
        medians = {way: {m: statistics.median(run[m] for run in each) for m in MEASURES} for way, each in runs.items()}
        quartiles = [round(float(np.quantile(ratios, share)), 3) for share in (0.25, 0.5, 0.75)]
        found[name] = {**medians, "kept_over_returned_quartiles": quartiles}
    RESULTS.write_text(json.dumps({"rounds": options.rounds, "epochs": EPOCHS, "networks": found}, indent=1) + "\n")
    print(RESULTS.read_text())


def _run(name: str, way: str) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__).resolve()), "--one", name, way]
    found: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return found


def trained(name: str, is_kept: bool) -> dict[str, float]:
    """Train a network and return what that took, without the first epoch."""
    import torch

    from paredown.evaluators.build import build
    from paredown.evaluators.tasks.normalisation import Normalisation
    from paredown.evaluators.tasks.task import Augmentation, Split
    from paredown.evaluators.training import fit as fitting
    from paredown.evaluators.training.data import TrainingData
    from paredown.spaces.families.catalogue import FAMILIES
    from paredown.spaces.knob import Range
    from paredown.spaces.space import joint_space

    if not is_kept:
        fitting.keep_freed_memory = lambda: None  # type: ignore[attr-defined]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    side, images = NETWORKS[name]
    space = joint_space({name: FAMILIES[name]}, {}, Range(side, side, 4), {}, {})
    network = build(space.baseline, (3, side, side), 10)
    pixels = np.random.default_rng(0).normal(size=(images, 3, side, side)).astype(np.float32)
    split = Split(pixels, np.arange(images) % 10)
    data = TrainingData(
        split,
        Split(split.images[:64], split.labels[:64]),
        Normalisation((0.0,) * 3, (1.0,) * 3, 0.0, 1.0),
        Augmentation(),
    )
    plan = fitting.TrainingPlan(accelerator="cpu")

    def train(epochs: int) -> None:
        fitting.fit(network, data, plan, epochs=epochs, learning_rate=1e-3, deadline=time.monotonic() + 1e6)

    train(1)
    before = resource.getrusage(resource.RUSAGE_SELF)
    train(EPOCHS)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "processor_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "pages": after.ru_minflt - before.ru_minflt,
        "most_held_mb": after.ru_maxrss / 1e3,
    }


if __name__ == "__main__":
    main()
