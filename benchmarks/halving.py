"""What stopping early saves, and what it costs: full-budget studies, replayed under successive halving.

A study is run without stopping: every trial has its whole learning curve. Its trials are then replayed through
`paredown.search.schedulers.halving`, in 20 random orders: how many epochs would have been trained, which share of
the full hypervolume the survivors have, which share of the final front would have been stopped. What a sampler
would have proposed otherwise is not replayed.

    .venv/bin/python benchmarks/halving.py --cifar cifar10-20k.zip

Writes benchmarks/results/halving.json and a plot. Without --cifar only the digits are run. With --keep the studies stay
and are only replayed the next time, for instance under other rules.
"""

import argparse
import json
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from rich.console import Console

from paredown.search.api.progress import ProgressDisplay
from paredown.search.bench.share import estimate
from paredown.search.run import search
from paredown.search.schedulers.halving import Halving
from paredown.search.study_file.schema import StudyConfig
from paredown.search.study_file.setup import set_up
from paredown.spaces.compression.quantization import QUANTIZATION
from paredown.studies.front import Model, front, hypervolume
from paredown.studies.study import Study

ROOT = Path(__file__).parents[1]
RULES = [(first, factor) for first in (1, 2, 3, 4, 5, 6) for factor in (2, 3, 4)]
ORDERS = 20
KNOBS = {
    "mbconv.scaling": "free",
    "mbconv.width": {"low": 0.5, "high": 1.5},
    "quantization.weights": ["fp32", "fp16", "int8"],
    **{f"quantization.{name}": None for name in QUANTIZATION.knobs if name != "weights"},
    **dict.fromkeys(f"channel_pruning.{k}" for k in ("importance", "scope", "multiple")),
    **dict.fromkeys(f"low_rank.{k}" for k in ("rule", "kernel")),
}
"""None: the knob takes its lowest value."""


def config(task: Any, trials: int, resolution: dict[str, int], **training: Any) -> StudyConfig:
    """Return a study over architecture and compression, without early stopping."""
    return StudyConfig.model_validate(
        {
            "study": "full",
            "task": task,
            "objectives": ["accuracy", "latency_ms", "size_bytes"],
            "space": {
                "families": ["mbconv"],
                "steps": ["distillation", "channel_pruning", "low_rank", "quantization"],
                "knobs": KNOBS
                | {"mbconv.resolution": resolution, "mbconv.expansion": [2, 4], "distillation.hints": None},
            },
            "training": {"learning_rate": 6e-3, "patience": 100, **training},
            "sampler": "random",  # it does not depend on what came out, so the replay leaves nothing out
            "trials": trials,
        }
    )


def run_study(config: StudyConfig, folder: Path) -> tuple[Study, Any]:
    """Run a study to its end."""
    setup = set_up(config, config.study, folder, folder / "out")
    display = ProgressDisplay(Console(stderr=True))
    return search(setup, f"sqlite:///{folder}/study.db", listener=display, where="halving.py").study, setup


def replay(study: Study, setup: Any, rule: tuple[int, int], order: Sequence[Model]) -> dict[str, float]:
    """Return what one order of trials comes to under a rule."""
    metrics = setup.plan.optimised_metrics
    baseline, curves = study.baseline(), study.curves()
    assert baseline is not None
    halving = Halving(metrics, *rule)
    trained = planned = 0
    survivors = []
    for model in order:
        epochs, known = setup.plan.epochs(model.candidate), {n: m.value for n, m in model.measurements.items()}
        stopped = ""
        curve = curves[model.trial]
        for epoch, values in curve:
            trained += 1
            losses = halving.losses(known | values)
            spared = model.trial == baseline.trial
            if stopped := halving.judge(model.trial, epoch + 1, epochs, losses, spared=spared):
                break
        planned += len(curve)
        if not stopped:
            survivors.append(model)
    full = study.models()
    best = {m.trial for m in front(full, metrics)}
    kept = {m.trial for m in survivors}
    return {
        "epochs": trained / planned,
        "hypervolume": hypervolume(survivors, metrics, baseline) / hypervolume(full, metrics, baseline),
        "front_stopped": len(best - kept) / len(best),
    }


def replays(study: Study, setup: Any) -> list[dict[str, Any]]:
    """Return mean and 95 % interval of each figure for each rule."""
    models, rows = study.models(), []
    baseline = study.baseline()
    assert baseline is not None
    for rule in RULES:
        figures = []
        for seed in range(ORDERS):
            others = [m for m in models if m.trial != baseline.trial]
            shuffled = [others[int(i)] for i in np.random.default_rng(seed).permutation(len(others))]
            figures.append(replay(study, setup, rule, [baseline, *shuffled]))
        row: dict[str, Any] = {"first": rule[0], "factor": rule[1]}
        for name in figures[0]:
            share = estimate([f[name] for f in figures])
            row[name] = {"mean": round(share.mean, 4), "half_width": round(share.half_width or 0.0, 4)}
        row["holds"] = row["epochs"]["mean"] <= 0.5 and row["hypervolume"]["mean"] >= 0.95
        rows.append(row)
    return rows


def plot(results: dict[str, Any], file: Path) -> None:
    """Draw the hypervolume kept over the epochs spent, a point a rule."""
    figure = go.Figure()
    for name, result in results.items():
        rules = result["rules"]
        figure.add_scatter(
            x=[r["epochs"]["mean"] for r in rules],
            y=[r["hypervolume"]["mean"] for r in rules],
            error_y={"array": [r["hypervolume"]["half_width"] for r in rules]},
            text=[f"{r['first']}, {r['factor']}" for r in rules],
            mode="markers+text",
            textposition="top center",
            name=name,
        )
    figure.add_hline(y=0.95, line_dash="dot").add_vline(x=0.5, line_dash="dot")
    figure.update_layout(
        template="plotly_white",
        title="Successive halving: labels are first, factor",
        xaxis_title="share of the epochs trained",
        yaxis_title="share of the full hypervolume",
    )
    figure.write_html(file, include_plotlyjs="cdn")


def main() -> None:
    """Run the studies, replay them, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, help="a zip of train/<class>/ and val/<class>/")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--cifar-trials", type=int, default=20)
    parser.add_argument("--keep", type=Path, help="folder of the studies; those that are there are replayed, not run")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name)
        jobs = {"digits": config("digits", options.trials, {"low": 8, "high": 16}, epochs=24, finetune_epochs=6)}
        if options.cifar is not None:
            zipfile.ZipFile(options.cifar).extractall(folder / "images")
            roots = [p.parent for p in (folder / "images").rglob("train") if p.is_dir()]
            task = {"image_folder": {"path": str(roots[0]), "images_per_class": 100, "flip": True, "crop": 0.125}}
            jobs["cifar10"] = config(task, options.cifar_trials, {"low": 8, "high": 16}, epochs=20, finetune_epochs=5)
        for job, asked in jobs.items():
            (folder / job).mkdir(parents=True, exist_ok=True)
            study, setup = run_study(asked, folder / job)
            results[job] = {"trials": len(study.models()), "rules": replays(study, setup)}
            options.out.mkdir(parents=True, exist_ok=True)
            (options.out / "halving.json").write_text(json.dumps(results, indent=1) + "\n")
            for row in results[job]["rules"]:
                print(job, row)
    plot(results, options.out / "halving.html")


if __name__ == "__main__":
    main()
