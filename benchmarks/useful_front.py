"""How much of the default study is of use: trials and front within 3 points of the baseline, and their hypervolume.

    .venv/bin/python benchmarks/useful_front.py --seeds 5

Two arms for each seed, each the default study by the command line with one worker and one thread: `region`, this code;
`before`, the code of the commit before studies had a region of interest, from a clone of its own. Trials and members of
the front are counted within 3 points of the baseline of the same run. Hypervolumes of the two are compared in one box:
both are measured by `paredown.studies.front` with the baseline of `before` of the same seed and the limit that follows
from it, since a run with a worse baseline would be measured by a lower limit. Writes
benchmarks/results/useful_front.json after each run; what a study takes is in benchmarks/plain_optuna.py. Studies are
kept in --runs: the same command goes on with one that was stopped, and only scores one that is done.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.measurement import Measurement
from paredown.spaces.candidate import Candidate
from paredown.studies.front import Model, front, hypervolume

ROOT = Path(__file__).parents[1]
BEFORE = "78f77d0"
"""The commit before studies had a region of interest."""
POINTS = 0.03
METRICS = tuple(EVALUATORS[name].metric for name in ("accuracy", "latency_ms", "size_bytes"))
FINISHED = ("done", "stopped", "failed")
GOALS = {"share_within": 0.7, "front_within": 8, "hypervolume_ratio": 1.3}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def main() -> None:
    """Run every arm with every seed, write the scores, and print them with what they come to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, from 0")
    parser.add_argument("--arms", default="before,region", help="comma-separated; the runs of others are kept")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--runs", type=Path, default=ROOT / "paredown-out/useful_front", help="folder of the studies")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/useful_front.json")
    options = parser.parse_args()
    runs, arms = options.runs.absolute(), sorted(options.arms.split(","))  # `before` first: it gives the box
    if unknown := set(arms) - {"before", "region"}:
        parser.error(f"--arms: {unknown.pop()!r} is not allowed; allowed: before, region")
    runs.mkdir(parents=True, exist_ok=True)
    earlier = json.loads(options.out.read_text())["runs"] if options.out.exists() else []
    rows: list[dict[str, Any]] = [row for row in earlier if row["arm"] not in arms]
    for seed in range(options.seeds):
        for arm in arms:
            code = _clone(runs) if arm == "before" else ROOT
            box = next((row["baseline"] for row in rows if (row["arm"], row["seed"]) == ("before", seed)), None)
            rows.append({"arm": arm, "seed": seed} | _run(f"{arm}{seed}", seed, options.trials, code, runs, box))
            document = {"trials": options.trials, "before": BEFORE, "goals": GOALS, "runs": rows, "means": _means(rows)}
            options.out.write_text(json.dumps(document, indent=2) + "\n")
            sys.stderr.write(f"{json.dumps(rows[-1])}\n")
    print(json.dumps(document["means"], indent=2))


def _clone(runs: Path) -> Path:
    """Return a clone of the commit of before, which is made once."""
    folder = runs / f"code-{BEFORE}"
    if not folder.exists():
        subprocess.run(["git", "clone", "--quiet", "--no-checkout", ROOT, folder], check=True)
        subprocess.run(["git", "-C", folder, "checkout", "--quiet", BEFORE], check=True)
    return folder


def _run(study: str, seed: int, trials: int, code: Path, runs: Path, box: Mapping[str, float] | None) -> dict[str, Any]:
    """Run a study or what is left of it, and return its scores; see `_scores` for the box."""
    storage, environment = f"sqlite:///{runs}/{study}.db", os.environ | ONE_THREAD | {"PYTHONPATH": str(code)}
    command = [sys.executable, "-m", "paredown", "search", "--study", study, "--seed", str(seed), "--workers", "1"]
    command += ["--trials", str(trials), "--storage", storage, "--out", str(runs / study)]
    subprocess.run(command, env=environment, cwd=runs, stdout=subprocess.DEVNULL, check=True)
    show = [sys.executable, "-m", "paredown", "show", study, "--storage", storage, "--json"]
    shown = subprocess.run(show, env=environment, cwd=runs, stdout=subprocess.PIPE, check=True)
    return _scores(json.loads(shown.stdout)["trials"], box)


def _scores(trials: Sequence[dict[str, Any]], box: Mapping[str, float] | None) -> dict[str, Any]:
    """Return the scores of a study.

    Args:
        trials: Its trials as `paredown show --json` prints them.
        box: Values of the baseline in whose box the hypervolume is measured; None for the study's own.
    """
    models = [_model(trial) for trial in trials if trial["state"] == "done"]
    baseline = models[0]
    within = [model for model in models if model["accuracy"] >= baseline["accuracy"] - POINTS]
    best = front(within, METRICS)
    reference = baseline if box is None else replace(baseline, measurements=_measured(box))
    limit = reference["accuracy"] - POINTS
    inside = [model for model in models if model["accuracy"] >= limit]
    share = hypervolume(inside, METRICS, reference, {"accuracy": limit})
    return {
        "baseline": {metric.name: baseline[metric.name] for metric in METRICS},
        "share_within": len(within) / sum(trial["state"] in FINISHED for trial in trials),
        "front_within": len(best),
        "hypervolume": share,
        "front": [[model.trial, *(model[metric.name] for metric in METRICS)] for model in best],
        "first_eight": [round(model["accuracy"], 4) for model in models[:8]],
    }


def _model(trial: dict[str, Any]) -> Model:
    return Model(trial["number"], Candidate.from_json(trial["candidate"]), _measured(trial["metrics"]), "")


def _measured(values: Mapping[str, float]) -> dict[str, Measurement]:
    return {name: Measurement(name, value) for name, value in values.items()}


def _means(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean of each score by arm, and the hypervolume of `region` over that of `before` of the same seed."""
    scores = ("share_within", "front_within", "hypervolume")
    arms = {row["arm"] for row in rows}
    means: dict[str, Any] = {
        arm: {score: statistics.mean(row[score] for row in rows if row["arm"] == arm) for score in scores}
        for arm in sorted(arms)
    }
    found = {(row["arm"], row["seed"]): row["hypervolume"] for row in rows}
    pairs = [(value, found.get(("before", seed))) for (arm, seed), value in found.items() if arm == "region"]
    ratios = [value / other for value, other in pairs if other]
    if ratios:
        region, ratio = means["region"], statistics.mean(ratios)
        means |= {"hypervolume_ratio": ratio, "hypervolume_ratios": ratios}
        reached = {"hypervolume_ratio": ratio, **region}
        means["holds"] = {goal: reached[goal] >= least for goal, least in GOALS.items()}
    return means


if __name__ == "__main__":
    main()
