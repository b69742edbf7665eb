r"""How much faster a network answers with early exits, and what it loses, against the same network without exits.

Both are trained alike: same data, epochs, seed. The trained network with exits is then tried at every threshold and
margin of the confidence and of the entropy rule, without training. For each rule those are taken that are cheapest in
expected MACs among those that lose at most half a point on the validation images; the file is then measured: mean
latency over the validation stream, interleaved with the file without exits, and accuracy on test images that chose
nothing. With --taught the network with exits also learns from the plain one, as `distillation` has it in a study; the
plain network taught by itself is measured beside it.

    .venv/bin/python benchmarks/early_exit.py --cifar cifar10-20k.zip --images-per-class 2000 --epochs 12 \
        --blocks 2 --widths 1 1 2 --after 6,7 --taught

Writes benchmarks/results/early_exit.json. Without --cifar only the digits are run.
"""

import argparse
import itertools
import json
import tempfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import moocore
import numpy as np

from paredown.evaluators.build import input_shape, rebuild
from paredown.evaluators.files.exit_file import export_stages, stitched
from paredown.evaluators.files.exit_runtime import BatchRuntime
from paredown.evaluators.files.names import MODEL_FILE, PACKED_FILE, WEIGHTS_FILE
from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.evaluators.metrics.accuracy import share_correct
from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.evaluation_input import Baseline, EvaluationInput
from paredown.evaluators.metrics.macs import exit_macs
from paredown.evaluators.metrics.measurement import Objective
from paredown.evaluators.packing.container import ship
from paredown.evaluators.tasks.spec import TaskSpec, load_task
from paredown.evaluators.tasks.task import Task, normalisation_at, split_at
from paredown.evaluators.training.fit import TrainingPlan
from paredown.search.trial.exit_settings import taken
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial.run_trial import run_trial
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.early_exit import EARLY_EXIT, rule_of
from paredown.spaces.exits.network import MultiExit
from paredown.spaces.knob import Knobs, Range
from paredown.studies.result import TrialResult

ROOT = Path(__file__).parents[1]
LOSS = 0.005
"""Points of accuracy that may be lost, as a share."""
SPEEDUP = 1.5
EXITS: Knobs = {
    "exits": 2,
    "after": "",
    "head": "convolution",
    "rule": "confidence",
    "threshold": 0.8,
}


TAUGHT: Knobs = {"weight": 0.6, "temperature": 2, "hints": 0.0}
"""How the plain network teaches, with --taught."""


def run(
    name: str,
    spec: TaskSpec,
    architecture: Knobs,
    training: TrainingPlan,
    exits_knobs: Knobs,
    folder: Path,
    taught: bool,
) -> dict[str, Any]:
    """Train both networks and return what they come to."""
    wanted = tuple(Objective(EVALUATORS[metric].metric) for metric in ("accuracy", "latency_ms", "size_bytes"))
    plan = TrialPlan(spec, wanted, training, folder, timeout_s=1e6, threads=1)
    start = Candidate("resnet", architecture)
    plain = _done(run_trial(start, plan, _told(f"{name}, plain")))
    resolution, task = int(architecture["resolution"]), load_task(spec)
    shape = input_shape(start, task)
    latency = plain.measurements["latency_ms"].value
    plan = replace(plan, baseline=Baseline(folder / plain.artifact / MODEL_FILE, shape, latency))
    steps: dict[str, Knobs] = {"distillation": TAUGHT} if taught else {}
    alone = plain
    if taught:
        alone = _done(run_trial(replace(start, steps=steps), plan, _told(f"{name}, plain, taught")))
    candidate = replace(start, steps={**steps, "early_exit": {**EXITS, **exits_knobs}})
    exits = _done(run_trial(candidate, plan, _told(f"{name}, exits")))
    network, shape = rebuild(candidate, task, folder / exits.artifact / WEIGHTS_FILE)
    assert isinstance(network, MultiExit)
    reference = plan.baseline
    stages = export_stages(network, shape, np.zeros((1, *shape), np.float32), lambda model, images: model)
    sides = {kind: _images(task, kind, resolution) for kind in ("validation", "test")}
    everything = BatchRuntime(folder / exits.artifact / MODEL_FILE).all_logits(sides["validation"][0])
    labels, least = sides["validation"][1], plain.measurements["accuracy"].value - LOSS
    macs = np.array(exit_macs(network, shape))
    rows = []
    for kind in ("confidence", "entropy"):
        points = []
        for threshold, margin in itertools.product(_values("threshold"), _values("first_margin")):
            rule = rule_of({"rule": kind, "threshold": threshold, "first_margin": margin})
            at = taken(rule, everything)
            right = np.stack(everything).argmax(2)[at, np.arange(len(labels))] == labels
            points.append((float(right.mean()), float(macs[at].mean()), threshold, margin))
        chosen = {}
        for way, allowed in (("one threshold", [p for p in points if not p[3]]), ("one each", points)):
            keeping = [point for point in allowed if point[0] >= least]
            # Where nothing keeps the limit, the strictest one is shown.
            chosen[way] = min(keeping, key=lambda p: p[1]) if keeping else max(allowed, key=lambda p: (p[2], p[3]))
        _, _, threshold, margin = chosen["one each"]
        network.rule = rule = rule_of({"rule": kind, "threshold": threshold, "first_margin": margin})
        file = folder / f"{name}-{kind}.onnx"
        ship(stitched(stages, rule, len(task.classes)), file)
        inputs = EvaluationInput(network, shape, file, file.with_name(PACKED_FILE), *sides["validation"], reference)
        measured = {m: EVALUATORS[m].evaluate(inputs) for m in ("accuracy", "latency_ms", "macs", "exit_rate")}
        test = _test(file, sides["test"])
        speedup = latency / measured["latency_ms"].value
        lost = plain.measurements["accuracy"].value - measured["accuracy"].value
        rows.append(
            {
                "rule": kind,
                "threshold": threshold,
                "first_margin": margin,
                "with_one_threshold": dict(
                    zip(("accuracy", "macs", "threshold"), chosen["one threshold"][:3], strict=True)
                ),
                "metrics": {m: {"value": v.value, "spread": v.spread} for m, v in measured.items()},
                "rates": BatchRuntime(file).run(sides["validation"][0]).rates,
                "test_accuracy": test,
                "speedup": round(speedup, 3),
                "points_lost": round(100 * lost, 3),
                "holds": speedup >= SPEEDUP and lost <= LOSS + 1e-9,
                "curve": [
                    {"threshold": t, "first_margin": first, "accuracy": a, "macs": m}
                    for a, m, t, first in _unbeaten(points)
                ],
            }
        )
    each = [float((one.argmax(1) == labels).mean()) for one in everything]
    return {
        "architecture": dict(architecture),
        "training": {
            "epochs": training.epochs,
            "seed": training.seed,
            "images": len(split_at_train(task, resolution)),
        },
        "validation_images": len(labels),
        "plain": {m: {"value": v.value, "spread": v.spread} for m, v in plain.measurements.items()}
        | {"test_accuracy": _test(folder / plain.artifact / MODEL_FILE, sides["test"])},
        "plain_taught": {m: {"value": v.value, "spread": v.spread} for m, v in alone.measurements.items()}
        | {"test_accuracy": _test(folder / alone.artifact / MODEL_FILE, sides["test"])},
        "exits": {**exits_knobs, "after": list(network.after), "macs": macs.tolist(), "accuracy_of_each": each},
        "rules": rows,
    }


def widths(each: list[float]) -> Knobs:
    """Return the knobs of a ResNet's width from a multiplier for each stage."""
    if len(set(each)) == 1:
        return {"widths": "equal", "width": each[0]}
    return {"widths": "per_stage"} | {f"width_{stage}": width for stage, width in enumerate(each, 1)}


def split_at_train(task: Task, resolution: int) -> Any:
    """Return the labels of the training images."""
    return split_at(task, "train", resolution).labels


def _images(task: Task, kind: str, resolution: int) -> tuple[Any, Any]:
    split = split_at(task, kind, resolution)  # type: ignore[arg-type]
    return normalisation_at(task, resolution)(split.images), split.labels


def _test(file: Path, test: tuple[Any, Any]) -> float:
    return share_correct(logits(open_session(file), test[0]), test[1], "test_accuracy").value


def _unbeaten(points: list[tuple[float, float, float, float]]) -> list[tuple[float, float, float, float]]:
    best = moocore.is_nondominated(np.array([(-accuracy, macs) for accuracy, macs, *_ in points]))
    return [point for point, is_best in zip(points, best, strict=True) if is_best]


def _values(name: str) -> list[float]:
    knob = EARLY_EXIT.knobs[name]
    assert isinstance(knob, Range)
    return [float(value) for value in knob.values]


def _done(result: TrialResult) -> TrialResult:
    if result.outcome != "done":
        raise SystemExit(f"{result.outcome}: {result.reason}")
    return result


def _told(name: str) -> Any:
    start = time.monotonic()

    def told(epoch: int, metrics: dict[str, float]) -> str:
        print(f"{name}: epoch {epoch}, {metrics['accuracy']:.3f}, {time.monotonic() - start:.0f} s", flush=True)
        return ""

    return told


def main() -> None:
    """Run the comparison, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, help="a zip of train/<class>/ and val/<class>/")
    parser.add_argument("--images-per-class", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--taught", action="store_true", help="the plain network teaches that with exits, and itself")
    parser.add_argument("--after", default="", help="layers behind which exits may stand, as early_exit.after")
    parser.add_argument("--blocks", type=int, default=5, help="of each stage: 3 is ResNet-20, 5 is ResNet-32")
    parser.add_argument("--widths", type=float, nargs=3, default=[0.5, 0.5, 0.5], help="multipliers of each stage")
    parser.add_argument("--weight", type=float, default=0.25, help="of the loss of each inner exit")
    parser.add_argument("--head", choices=("linear", "convolution"), default="convolution")
    parser.add_argument("--no-digits", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keeps trained networks, so that a second run need not train them")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "early_exit.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() and options.no_digits else {}
    plain: Knobs = {"block": "basic", "shortcut": "padded", "activation": "relu"}
    training = TrainingPlan(learning_rate=6e-3, patience=100, max_seconds=1e6, seed=options.seed, cache_bytes=1e9)
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        jobs: dict[str, tuple[TaskSpec, Knobs, TrainingPlan]] = {
            "digits": (
                TaskSpec("digits", "{}", folder),
                {**plain, **widths([0.5] * 3), "blocks": 3, "resolution": 16},
                replace(training, epochs=12),
            )
        }
        if options.no_digits:
            del jobs["digits"]
        if options.cifar is not None:
            if not (folder / "images").exists():
                zipfile.ZipFile(options.cifar).extractall(folder / "images")
            root = next(p.parent for p in (folder / "images").rglob("train") if p.is_dir())
            task = {"path": str(root), "images_per_class": options.images_per_class, "flip": True, "crop": 0.125}
            jobs["cifar10"] = (
                TaskSpec("image_folder", json.dumps(task), folder),
                {**plain, **widths(options.widths), "blocks": options.blocks, "resolution": 32},
                replace(training, epochs=options.epochs),
            )
        for job, (spec, architecture, plan) in jobs.items():
            (folder / job).mkdir(parents=True, exist_ok=True)
            results[job] = run(
                job,
                spec,
                architecture,
                plan,
                {"weight": options.weight, "head": options.head, "after": options.after if job == "cifar10" else ""},
                folder / job,
                options.taught and job == "cifar10",
            )
            file.write_text(json.dumps(results, indent=1) + "\n")
            for row in results[job]["rules"]:
                print(job, {k: v for k, v in row.items() if k != "curve"})


if __name__ == "__main__":
    main()
