"""One joint search against architecture first, then pruning, then bits, at equal evaluation seconds.

Both arms run the same trials (`paredown.search.trial.run_trial`) with the same sampler until so many seconds of
evaluation are spent: of one core, so that other work on the machine does not count; nor does the sampler's own
time. The sequential arm spends a third on the architecture
alone, takes the knee of its front, spends a third on pruning and low rank of that network, takes the knee again,
and spends the rest on bits and distillation; all that it evaluated counts for it. Reported: hypervolume against
the largest network, and the best accuracy under three limits of latency (shares of the largest network's).

    .venv/bin/python benchmarks/joint_vs_sequential.py --seeds 5 --seconds 240

Two processes of one thread run at a time, the two arms of one seed side by side. Writes
benchmarks/results/joint_vs_sequential.json.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from paredown.evaluators.metrics.measurement import Metric
from paredown.search.bench.share import estimate
from paredown.search.drivers.driver import with_reference
from paredown.search.run import problem_of
from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.study_file.schema import StudyConfig
from paredown.search.study_file.setup import set_up
from paredown.search.trial.run_trial import run_trial
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.quantization import QUANTIZATION
from paredown.studies.front import Model, front, hypervolume, losses
from paredown.studies.study import Study

ROOT = Path(__file__).parents[1]
LIMITS = (0.6, 0.4, 0.25)
"""Of latency, as shares of the largest network's."""
PRUNING, BITS = ["channel_pruning", "low_rank"], ["quantization", "distillation"]
KNOBS = {
    "mbconv.scaling": "free",
    "mbconv.resolution": {"low": 8, "high": 16},
    "mbconv.depth": {"low": 1.0, "high": 1.5},
    "mbconv.width": {"low": 0.5, "high": 1.5},
    "mbconv.expansion": [2, 4],
}
PLAIN = {
    "channel_pruning": ("importance", "scope", "multiple"),
    "low_rank": ("rule", "kernel"),
}
"""Knobs that take their lowest value."""


def spend(seconds: float, seed: int, folder: Path, steps: list[str], fixed: Candidate | None) -> list[Model]:
    """Search until so many seconds of evaluation are spent and return every finished model.

    Args:
        seconds: Of evaluation; the last trial may exceed them.
        seed: Of sampler and training.
        folder: For the study.
        steps: Compression steps that are searched or fixed.
        fixed: Its architecture and the values of its steps are fixed; None: all is searched.
    """
    knobs: dict[str, Any] = dict(KNOBS)
    if fixed is not None:
        knobs = {f"{fixed.family}.{k}": v for k, v in fixed.knobs.items()}
        for name in PRUNING:
            values = fixed.steps.get(name)
            if "quantization" in steps:  # the pruning of the stage before stays
                knobs |= {f"{name}.{k}": v for k, v in values.items()} if values else {f"{name}.ratio": None}
    if "distillation" in steps:
        knobs["distillation.hints"] = None
    if "quantization" in steps:
        knobs |= {f"quantization.{name}": None for name in QUANTIZATION.knobs}
        knobs["quantization.weights"] = ["fp32", "fp16", "int8"]
    knobs |= {f"{name}.{k}": None for name, plain in PLAIN.items() if name in steps for k in plain}
    folder.mkdir(parents=True)
    config = StudyConfig.model_validate(
        {
            "study": "arm",
            "task": "digits",
            "objectives": ["accuracy", "latency_ms", "size_bytes"],
            "space": {"families": ["mbconv"], "steps": steps, "knobs": knobs},
            "training": {"epochs": 6, "finetune_epochs": 3, "learning_rate": 6e-3, "patience": 100},
            "trials": 40,
            "seed": seed,
        }
    )
    setup = set_up(config, "joint_vs_sequential.py", folder, folder / "out")
    study = Study.create(f"sqlite:///{folder}/s.db", "arm", setup.stored, setup.plan.objectives, str(setup.plan.folder))
    study.enqueue([setup.space.values(setup.space.baseline)])
    study.use(SAMPLERS["cost_aware"](problem_of(setup, study)))
    spent, known = 0.0, 0
    while spent < seconds and known < 50:
        asked = study.ask(setup.space.sample)
        if asked is None:  # a network that was tried: little of a small space is left
            known += 1
            continue
        begin = time.process_time()
        plan = with_reference(setup.plan, study.baseline())
        result = run_trial(asked.candidate, plan)
        spent += time.process_time() - begin
        study.tell(asked.number, result)
    return study.models()


def knee(models: list[Model], metrics: list[Metric]) -> Model:
    """Return the model of the front that is nearest to the best of everything, each axis scaled to its range."""
    best = front(models, metrics)
    table = losses(best, metrics)
    scaled = (table - table.min(0)) / np.maximum(np.ptp(table, axis=0), 1e-12)
    return best[int(np.linalg.norm(scaled, axis=1).argmin())]


def run_arm(arm: str, seed: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Return what an arm reaches, as values by model and the largest network's."""
    import torch

    torch.set_num_threads(1)
    metrics = [o for o in _metrics()]
    if arm == "joint":
        models = spend(seconds, seed, folder / "joint", [*PRUNING, *BITS], None)
        baseline = models[0]
    else:
        models = spend(seconds / 3, seed, folder / "architecture", [], None)
        baseline = models[0]
        pruned = spend(seconds / 3, seed, folder / "pruning", PRUNING, knee(models, metrics).candidate)
        bits = spend(seconds / 3, seed, folder / "bits", [*PRUNING, *BITS], knee(pruned, metrics).candidate)
        models = [*models, *pruned, *bits]
    document: dict[str, Any] = {"arm": arm, "seed": seed, "models": len(models)}
    document["hypervolume"] = hypervolume(models, metrics, baseline)
    for share in LIMITS:
        under = [m["accuracy"] for m in models if m["latency_ms"] <= share * baseline["latency_ms"]]
        document[f"accuracy at {share} latency"] = max(under, default=0.0)
    return document


def _metrics() -> list[Metric]:
    from paredown.evaluators.metrics.catalogue import EVALUATORS

    return [EVALUATORS[name].metric for name in ("accuracy", "latency_ms", "size_bytes")]


def main() -> None:
    """Run both arms of every seed side by side; print and write the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    with (
        tempfile.TemporaryDirectory() as name,
        ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool,
    ):
        jobs = [(arm, seed) for seed in range(options.seeds) for arm in ("joint", "sequential")]
        futures = [pool.submit(run_arm, arm, seed, options.seconds, Path(name, f"{arm}-{seed}")) for arm, seed in jobs]
        runs = []
        for future in futures:
            runs.append(future.result())
            print(json.dumps(runs[-1]), flush=True)
    document: dict[str, Any] = {"seeds": options.seeds, "seconds": options.seconds, "runs": runs, "figures": {}}
    for figure in [name for name in runs[0] if name not in ("arm", "seed")]:
        arms = {arm: [r[figure] for r in runs if r["arm"] == arm] for arm in ("joint", "sequential")}
        differences = [j - s for j, s in zip(arms["joint"], arms["sequential"], strict=True)]
        values = {**arms, "joint - sequential": differences}
        document["figures"][figure] = {
            of: {"mean": round((e := estimate(v)).mean, 5), "half_width": round(e.half_width or 0.0, 5)}
            for of, v in values.items()
        }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "joint_vs_sequential.json").write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document["figures"], indent=1))


if __name__ == "__main__":
    main()
