"""What weight sharing gives: do inherited networks rank as those trained alone, and what does a candidate cost?

Random networks of a space, no two alike, each trained in these ways: alone for the study's epochs, alone for 5
epochs, inherited from the supernet with new batch statistics and nothing else, and inherited with 2 (the default) and
5 epochs of fine-tuning. Accuracy is that on validation and test images together, seconds are those of the processor,
with one thread (others may use the machine). Kendall's tau compares accuracies alone with those inherited. With
--seeds of two or more the accuracy alone is the mean over so many trainings from other random weights, and the
ceiling is the mean tau between any two of them: how well one training alone ranks as another.

    .venv/bin/python benchmarks/supernet.py --cifar cifar10-20k.zip

Writes benchmarks/results/supernet.json. Without --cifar only the digits are run.
"""

import argparse
import itertools
import json
import math
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from scipy.stats import kendalltau
from torch import nn

from paredown.evaluators.supernet.corners import shared_shapes
from paredown.evaluators.tasks.task import split_at
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.fit import TrainingPlan, fit
from paredown.evaluators.training.inference import recalibrate, score
from paredown.search.api.progress import ProgressDisplay
from paredown.search.bench.share import estimate
from paredown.search.study_file.schema import StudyConfig
from paredown.search.study_file.setup import Setup, set_up
from paredown.search.trial.pretraining import INHERITED_RATE
from paredown.search.trial.supernets import inherit, prepare_supernets, trained_supernet
from paredown.spaces.candidate import Candidate
from paredown.spaces.families.catalogue import FAMILIES

ROOT = Path(__file__).parents[1]
SHORT_EPOCHS, FEW_EPOCHS = 2, 5
KNOBS = {
    "mbconv.scaling": "free",
    "mbconv.depth": {"low": 1.0, "high": 2.0},
    "mbconv.width": {"low": 0.5, "high": 1.5},
    "mbconv.expansion": [2, 4],
    "mbconv.squeeze_excite": False,
}
WAYS = ("alone", "alone_few", "inherited", "inherited_short", "inherited_few")
INHERITED = WAYS[2:]
RESAMPLES = 2000


def config(task: Any, resolution: dict[str, int], options: argparse.Namespace) -> StudyConfig:
    """Return a study over architectures that inherits."""
    return StudyConfig.model_validate(
        {
            "study": "supernet",
            "task": task,
            "objectives": ["accuracy", "macs"],
            "space": {"knobs": KNOBS | {"mbconv.resolution": resolution, "mbconv.activation": options.activations}},
            "training": {
                "mode": "inherit",
                "epochs": options.epochs,
                "supernet_epochs": options.supernet_epochs,
                "learning_rate": 6e-3,
                "patience": 1000,
                "max_seconds": 1e6,
            },
        }
    )


def distinct(setup: Setup, count: int) -> Iterator[Candidate]:
    """Yield the first random candidates whose networks differ: depths may round to the same layers."""
    seen: set[Any] = set()
    numbers = itertools.count()
    while len(seen) < count:
        candidate = setup.space.draw(next(numbers))
        family = FAMILIES[candidate.family]
        shapes = shared_shapes(family, candidate, setup.task.channels, len(setup.task.classes))
        network = (family.resolution(candidate.knobs), candidate.knobs["activation"], tuple(sorted(shapes.items())))
        if network not in seen:
            seen.add(network)
            yield candidate


def measure(setup: Setup, candidate: Candidate, way: str, seed: int = 0) -> dict[str, float]:
    """Return accuracy and processor seconds of one candidate trained in one way."""
    training = replace(setup.plan.training, seed=seed)
    family = FAMILIES[candidate.family]
    side = family.resolution(candidate.knobs)
    data = TrainingData.of(setup.task, side)
    torch.manual_seed(seed)
    network = family.build(candidate.knobs, (setup.task.channels, side, side), len(setup.task.classes))
    began = time.process_time()
    train = _fitting(network, data, training)
    if way.startswith("alone"):
        train(training.epochs if way == "alone" else FEW_EPOCHS, training.learning_rate)
    else:
        inherit(candidate, setup.plan, network)
        recalibrate(network, data)
        if way != "inherited":
            train(SHORT_EPOCHS if way == "inherited_short" else FEW_EPOCHS, training.learning_rate * INHERITED_RATE)
    recalibrate(network, data)
    seconds = time.process_time() - began
    splits = (data.validation, split_at(setup.task, "test", side))
    right = [score(network, split, data.normalise)[0] * len(split.labels) for split in splits]
    return {"accuracy": sum(right) / sum(len(split.labels) for split in splits), "seconds": seconds}


class Kept:
    """Measurements of networks trained alone, on disk: they do not depend on the supernet.

    Args:
        file: JSON; made where it does not exist. None keeps nothing.
        setup: Of the study.
    """

    def __init__(self, file: Path | None, setup: Setup) -> None:
        self._file, self._setup = file, setup
        self._known = json.loads(file.read_text()) if file is not None and file.exists() else {}

    def measure(self, candidate: Candidate, way: str, seed: int = 0) -> dict[str, float]:
        """Return what `measure` does, from the disk where it is there."""
        plan = self._setup.plan
        key = f"{plan.task.options} {plan.training.epochs} {seed} {way} {candidate}"
        if key not in self._known or not way.startswith("alone"):
            self._known[key] = measure(self._setup, candidate, way, seed)
            if self._file is not None and way.startswith("alone"):
                self._file.write_text(json.dumps(self._known, indent=1))
        return dict(self._known[key])


def _fitting(network: nn.Module, data: TrainingData, training: TrainingPlan) -> Callable[[int, float], int]:
    return lambda epochs, rate: fit(network, data, training, epochs=epochs, learning_rate=rate, deadline=math.inf)


def tau(first: list[float], second: list[float]) -> dict[str, float]:
    """Return Kendall's tau-b and its 95 % interval over resampled candidates."""
    pairs, rng = np.array([first, second]), np.random.default_rng(0)
    resampled = []
    for _ in range(RESAMPLES):
        rows = rng.integers(0, len(first), len(first))
        resampled.append(kendalltau(*pairs[:, rows]).statistic)
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return {"tau": round(float(kendalltau(*pairs).statistic), 3), "low": round(low, 3), "high": round(high, 3)}


def run(setup: Setup, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Train the supernet and all candidates; yield every figure, again after each further seed."""
    console, began = Console(stderr=True), time.process_time()
    prepare_supernets(setup.plan, None, ProgressDisplay(console))
    supernet_s = time.process_time() - began
    trained_supernet(setup.plan, "mbconv")  # read once: not part of a candidate's seconds
    rows: list[dict[str, Any]] = []
    kept = Kept(options.keep, setup)
    candidates = list(distinct(setup, options.candidates))
    for number, candidate in enumerate(candidates):
        row: dict[str, Any] = {"candidate": str(candidate)}
        for way in WAYS:
            row[way] = kept.measure(candidate, way)
        rows.append(row)
        console.print(number, {w: round(row[w]["accuracy"], 4) for w in WAYS}, highlight=False)
    for row in rows:
        row["alone"]["of_each_seed"] = [row["alone"]["accuracy"]]
    yield summary(rows, supernet_s) | {"candidates": rows}
    for seed in range(1, options.seeds):
        for row, candidate in zip(rows, candidates, strict=True):
            alone = row["alone"]
            alone["of_each_seed"].append(kept.measure(candidate, "alone", seed)["accuracy"])
            alone["accuracy"] = float(np.mean(alone["of_each_seed"]))
        yield summary(rows, supernet_s) | {"candidates": rows}


def summary(rows: list[dict[str, Any]], supernet_s: float) -> dict[str, Any]:
    """Return what the claims are about."""
    column = {w: [row[w]["accuracy"] for row in rows] for w in rows[0] if w != "candidate"}
    seconds = {w: float(np.mean([row[w]["seconds"] for row in rows])) for w in WAYS}
    gain = estimate([a - b for a, b in zip(column["inherited_few"], column["alone_few"], strict=True)])
    shared = supernet_s / len(rows)
    saved = seconds["alone"] - seconds["inherited"]
    result: dict[str, Any] = {
        "mean_accuracy": {w: round(float(np.mean(v)), 4) for w, v in column.items()},
        "tau": {w: tau(column["alone"], column[w]) for w in INHERITED},
        "gain_at_equal_epochs": {"mean": round(gain.mean, 4), "half_width": round(gain.half_width or 0.0, 4)},
        "seconds_a_candidate": {w: round(s, 3) for w, s in seconds.items()},
        "seconds_with_supernet": {w: round(seconds[w] + shared, 3) for w in INHERITED},
        "times_fewer": {w: round(seconds["alone"] / seconds[w], 2) for w in INHERITED},
        "times_fewer_with_supernet": {w: round(seconds["alone"] / (seconds[w] + shared), 2) for w in INHERITED},
        "supernet_seconds": round(supernet_s, 1),
        "pays_after_candidates": math.ceil(supernet_s / saved) if saved > 0 else None,
    }
    trainings = [row["alone"]["of_each_seed"] for row in rows]
    if pairs := list(itertools.combinations(zip(*trainings, strict=True), 2)):
        result["seeds"] = len(trainings[0])
        result["tau_ceiling"] = round(float(np.mean([kendalltau(*pair).statistic for pair in pairs])), 3)
    return result


def main() -> None:
    """Run the studies, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, help="a zip of train/<class>/ and val/<class>/")
    parser.add_argument("--images-per-class", type=int, default=200, help="of CIFAR-10")
    parser.add_argument("--cifar-side", type=int, default=32, help="highest resolution for CIFAR-10, in pixels")
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=30, help="of training alone")
    parser.add_argument("--supernet-epochs", type=int, default=60)
    parser.add_argument("--activations", nargs="+", default=["relu"])
    parser.add_argument("--seeds", type=int, default=1, help="so many trainings alone of each network")
    parser.add_argument(
        "--keep", type=Path, help="JSON of networks trained alone, for other runs with another supernet"
    )
    parser.add_argument("--no-digits", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    file = options.out / "supernet.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jobs = {} if options.no_digits else {"digits": config("digits", {"low": 8, "high": 16}, options)}
        if options.cifar is not None:
            zipfile.ZipFile(options.cifar).extractall(folder / "images")
            roots = [p.parent for p in (folder / "images").rglob("train") if p.is_dir()]
            task = {
                "image_folder": {
                    "path": str(roots[0].relative_to(folder)),
                    "images_per_class": options.images_per_class,
                }
            }
            jobs["cifar10"] = config(task, {"low": 16, "high": options.cifar_side}, options)
        for job, asked in jobs.items():
            job += f"-{options.supernet_epochs}"  # figures of other lengths stay
            setup = set_up(asked, job, folder, folder / job)
            asked_of = {
                "epochs": options.epochs,
                "supernet_epochs": options.supernet_epochs,
                "task": asked.task.options,
            }
            for figures in run(setup, options):
                results[job] = asked_of | figures
                options.out.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps(results, indent=1) + "\n")
            print(job, json.dumps({k: v for k, v in results[job].items() if k != "candidates"}, indent=1))


if __name__ == "__main__":
    main()
