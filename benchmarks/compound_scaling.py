"""What to scale: depth alone, width alone, resolution alone or all three, at equal MACs.

A small network of the family `mbconv` is scaled to a multiple of its MACs in each of the four ways; of all networks of
a way the one nearest to the target is taken (blocks are whole, channels and pixels multiples of 4, so MACs cannot be
equal to the last one). Compound scaling takes the published proportions: depth 1.2^phi, width 1.1^phi, resolution
1.15^phi. Each network is trained from random weights with several seeds. Accuracy is that on validation and test
images together, of the epoch that was the best in validation. Intervals are 95 % by Student's t over the seeds;
differences are between networks of one seed.

    .venv/bin/python benchmarks/compound_scaling.py --cifar cifar10-20k.zip

Writes benchmarks/results/compound_scaling.json and a plot, after each seed; figures of a task that is not run stay.
Without --cifar only the digits are run, with --no-digits only CIFAR-10.

Source:
    Tan, Le, EfficientNet, ICML 2019, table 7: 79.0, 78.9, 79.1 and 81.1 % on ImageNet at 1.8 GFLOPs.
"""

import argparse
import json
import math
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import torch

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.evaluation_input import EvaluationInput
from paredown.evaluators.tasks.spec import TaskSpec, load_task
from paredown.evaluators.tasks.task import Task, split_at
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.fit import TrainingPlan, fit
from paredown.evaluators.training.inference import score
from paredown.search.bench.share import Estimate, estimate
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.knob import Value

ROOT = Path(__file__).parents[1]
FAMILY = FAMILIES["mbconv"]
COMPOUND = {"depth": 1.2, "width": 1.1, "resolution": 1.15}
WAYS = {"base": {}, **{one: {one: 2.0} for one in COMPOUND}, "compound": COMPOUND}
"""What each way multiplies, to the power of phi."""
MULTIPLE = 4
"""Resolutions are multiples of it."""
BISECTIONS = 12

Knobs = dict[str, Value]


def knobs(way: str, phi: float, side: int) -> Knobs:
    """Return the knobs of the base network, of depth and width 1, scaled in one way."""
    factors = {one: WAYS[way].get(one, 1.0) ** phi for one in COMPOUND}
    scaled: Knobs = {"scaling": "free", "depth": factors["depth"], "width": factors["width"]}
    scaled["resolution"] = round(side * factors["resolution"] / MULTIPLE) * MULTIPLE
    return scaled | {"kernel": 3, "expansion": 4, "squeeze_excite": False, "activation": "silu"}


def cost(asked: Knobs, task: Task) -> dict[str, int]:
    """Return MACs and parameters of a network."""
    shape = (task.channels, FAMILY.resolution(asked), FAMILY.resolution(asked))
    inputs = EvaluationInput(FAMILY.build(asked, shape, len(task.classes)), shape)
    return {name: int(EVALUATORS[name].evaluate(inputs).value) for name in ("macs", "params")}


def nearest(way: str, side: int, target: float, task: Task) -> Knobs:
    """Return the knobs of the network of a way whose MACs are nearest to a target, by bisection over phi."""
    low, high, found = 0.0, 8.0, []
    for _ in range(BISECTIONS):
        phi = (low + high) / 2
        asked = knobs(way, phi, side)
        macs = cost(asked, task)["macs"]
        found.append((abs(math.log(macs / target)), phi, asked))
        low, high = (phi, high) if macs < target else (low, phi)
    return min(found, key=lambda one: one[:2])[2]


def accuracy(asked: Knobs, task: Task, training: TrainingPlan) -> float:
    """Train a network and return its accuracy."""
    side = FAMILY.resolution(asked)
    data = TrainingData.of(task, side)
    torch.manual_seed(training.seed)
    network = FAMILY.build(asked, (task.channels, side, side), len(task.classes))
    fit(network, data, training, epochs=training.epochs, learning_rate=training.learning_rate, deadline=math.inf)
    splits = (data.validation, split_at(task, "test", side))
    right = [score(network, split, data.normalise)[0] * len(split.labels) for split in splits]
    return sum(right) / sum(len(split.labels) for split in splits)


def run(task: Task, side: int, options: argparse.Namespace, write: Any) -> None:
    """Train all networks, seed after seed, and hand the figures to `write` after each."""
    base = knobs("base", 0.0, side)
    target = options.times * cost(base, task)["macs"]
    chosen = {way: base if way == "base" else nearest(way, side, target, task) for way in WAYS}
    ways: dict[str, dict[str, Any]] = {
        way: {"knobs": asked, **cost(asked, task), "accuracies": [], "seconds": 0.0} for way, asked in chosen.items()
    }
    for way, row in ways.items():
        row["macs_to_target"] = round(row["macs"] / target, 3)
        print(way, row["macs"], row["macs_to_target"], row["knobs"], flush=True)
    for seed in range(options.seeds):
        training = TrainingPlan(options.epochs, learning_rate=6e-3, patience=10**6, seed=seed)
        for way, row in ways.items():
            began = time.process_time()
            row["accuracies"].append(round(accuracy(chosen[way], task, training), 5))
            row["seconds"] = round(row["seconds"] + time.process_time() - began, 1)
        print(seed, {way: row["accuracies"][-1] for way, row in ways.items()}, flush=True)
        write({"target_macs": target, "epochs": options.epochs, "seeds": seed + 1, "ways": summary(ways)})


def summary(ways: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the rows with means and intervals, in points of a hundred."""
    compound = ways["compound"]["accuracies"]
    rows = {}
    for way, row in ways.items():
        gains = [100 * (a - b) for a, b in zip(compound, row["accuracies"], strict=True)]
        rows[way] = row | {"accuracy": _document(estimate([100 * a for a in row["accuracies"]]))}
        if way != "compound":
            rows[way]["compound_minus_it"] = _document(estimate(gains))
    return rows


def _document(found: Estimate) -> dict[str, float | None]:
    return {
        "mean": round(found.mean, 3),
        "half_width": None if found.half_width is None else round(found.half_width, 3),
    }


def plot(results: dict[str, Any], file: Path) -> None:
    """Draw accuracy over MACs, with intervals."""
    figure = go.Figure()
    for name, result in results.items():
        rows = result["ways"]
        figure.add_scatter(
            x=[row["macs"] for row in rows.values()],
            y=[row["accuracy"]["mean"] for row in rows.values()],
            error_y={"array": [row["accuracy"]["half_width"] or 0.0 for row in rows.values()]},
            text=list(rows),
            mode="markers+text",
            textposition="middle right",
            name=name,
        )
    figure.update_layout(
        template="plotly_white",
        title="Scaling one network in four ways",
        xaxis_title="MACs",
        yaxis_title="accuracy in %, 95 % intervals over seeds",
    )
    figure.write_html(file, include_plotlyjs="cdn")


def main() -> None:
    """Run the tasks, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, help="a zip of train/<class>/ and val/<class>/")
    parser.add_argument("--images-per-class", type=int, default=100, help="of CIFAR-10, in training")
    parser.add_argument("--no-digits", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--times", type=float, default=4.0, help="the target, as a multiple of the base network's MACs")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "compound_scaling.json"
    with tempfile.TemporaryDirectory() as folder:
        jobs = {} if options.no_digits else {"digits": (TaskSpec("digits", "{}", Path(folder)), 12)}
        if options.cifar is not None:
            zipfile.ZipFile(options.cifar).extractall(folder)
            root = next(p.parent for p in sorted(Path(folder).rglob("train")) if p.is_dir())
            asked = {"path": str(root), "images_per_class": options.images_per_class, "flip": True, "crop": 0.125}
            jobs["cifar10"] = (TaskSpec("image_folder", json.dumps(asked), Path(folder)), 16)
        for job, (spec, side) in jobs.items():

            def write(figures: dict[str, Any], job: str = job) -> None:
                results = json.loads(file.read_text()) if file.exists() else {}
                results[job] = figures
                file.write_text(json.dumps(results, indent=1) + "\n")
                plot(results, file.with_suffix(".html"))

            run(load_task(spec), side, options, write)


if __name__ == "__main__":
    main()
