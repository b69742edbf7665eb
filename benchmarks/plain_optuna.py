"""Processor seconds to one hypervolume inside the region: Paredown, an earlier Paredown, a plain Optuna script.

The plain script is what a competent user writes without Paredown: Optuna's TPE (multivariate, groups) over the same
knobs, each candidate trained from scratch, the steps optional, distillation from the baseline allowed. It takes its
networks, its training, its compression and its files from Paredown's blocks, the faster optimizer among them, so what
differs is the search: what is asked, shared, stopped and rejected. Everything counts: imports, the sampler, the
baseline, measuring and exporting, in processor seconds of all processes.

The region is an accuracy of at least the plain script's baseline minus 3 points; costs reach to 1.1 times its. The arms
of a seed run one after the other, each seed beginning with another arm; the file of results is written after each run,
and runs that it holds are not repeated.

    git worktree add ../before 78f77d0
    .venv/bin/python benchmarks/plain_optuna.py --seeds 3 --before ../before
"""

import argparse
import contextlib
import dataclasses
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import moocore
import numpy as np
import psutil

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/plain_optuna.json"
METRICS = ("accuracy", "latency_ms", "size_bytes")
POINTS, REFERENCE, FLOOR_MS = 0.03, 1.1, 0.02
LOOK_S = 0.25
ASSIGNED = "--as-the-script"

Point = tuple[float, dict[str, float]]
"""(processor seconds by then, values by metric)."""


def main() -> None:
    """Run what is missing and print the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument(
        "--before", type=Path, help="a checkout of the earlier Paredown; without it that arm is left out"
    )
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument(ASSIGNED, dest="script_seed", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.script_seed is not None:
        plain_script(options.script_seed, options.trials)
        return
    runs: dict[str, Any] = json.loads(options.output.read_text())["runs"] if options.output.exists() else {}
    arms: dict[str, Path | None] = {"plain": None, "now": ROOT}
    if options.before is not None:
        arms["before"] = options.before.resolve()
    for seed in range(options.seeds):
        names = list(arms)[seed % len(arms) :] + list(arms)[: seed % len(arms)]
        for name in names:
            key = f"{name} {seed} {options.trials}"
            if key not in runs:
                runs[key] = run(arms[name], seed, options.trials)
                write(options.output, runs, options.seeds, options.trials)
                print(f"{key}: {runs[key]['processor_s']:.0f} processor seconds", file=sys.stderr, flush=True)
    print(json.dumps(write(options.output, runs, options.seeds, options.trials)["summary"], indent=2))


def plain_script(seed: int, trials: int) -> None:
    """Search with Optuna alone, and print a line of JSON as each trial ends."""
    import optuna

    from paredown.evaluators.files.names import MODEL_FILE
    from paredown.evaluators.metrics.evaluation_input import Baseline
    from paredown.search.study_file.schema import read_config
    from paredown.search.study_file.setup import set_up
    from paredown.search.trial.run_trial import run_trial
    from paredown.spaces.knob import Suggester
    from paredown.studies.result import TrialResult

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    setup = set_up(read_config(None, {"seed": seed}), "default study", Path(), Path("out"))
    training = dataclasses.replace(setup.plan.training, cache_bytes=0)
    first = dataclasses.replace(setup.plan, training=training, objectives=unlimited(setup.plan.objectives))
    sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, warn_independent_sampling=False)
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"], sampler=sampler)

    def told(result: TrialResult) -> list[float]:
        values = {name: result.measurements[name].value for name in METRICS}
        print(json.dumps({"at": time.time(), "values": values}), flush=True)
        return [values[name] for name in METRICS]

    baseline = run_trial(setup.space.baseline, first)
    told(baseline)
    shape = setup.task.input_shape(
        setup.space.families[setup.space.baseline.family].resolution(setup.space.baseline.knobs)
    )
    reference = Baseline(
        first.folder / baseline.artifact / MODEL_FILE, shape, baseline.measurements["latency_ms"].value
    )
    plan = dataclasses.replace(first, baseline=reference)

    def objective(trial: optuna.Trial) -> list[float]:
        result = run_trial(setup.space.sample(cast(Suggester, trial)), plan)
        if result.outcome != "done":
            raise optuna.TrialPruned(result.reason)
        return told(result)

    study.optimize(objective, n_trials=trials - 1)


def unlimited(objectives: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return objectives without limits: the script looks at its front when it has ended."""
    from paredown.evaluators.metrics.measurement import Objective

    return tuple(Objective(o.metric, o.optimised) for o in objectives)


def run(package: Path | None, seed: int, trials: int) -> dict[str, Any]:
    """Run one arm in a folder of its own, and return its points with the processor seconds by then."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(Path(__file__).resolve()), ASSIGNED, str(seed), "--trials", str(trials)]
        if package is not None:
            command = [
                sys.executable,
                "-m",
                "paredown",
                "search",
                "--json",
                "--seed",
                str(seed),
                "--trials",
                str(trials),
            ]
        environment = os.environ | {"PYTHONPATH": str(package or ROOT)}
        start = time.time()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        clock = ProcessorClock(process.pid)
        output, errors = process.communicate()
        clock.stop()
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{errors.decode()[-2000:]}")
        told = _of_database(Path(folder, "paredown.db")) if package is not None else _of_lines(output.decode())
    points = [(clock.at(at), values) for at, values in told]
    return {"processor_s": clock.total, "wall_s": time.time() - start, "points": points}


class ProcessorClock:
    """Adds up the processor seconds of a process and all below it, those that have ended included."""

    def __init__(self, pid: int) -> None:
        self._pid, self._last = pid, dict[tuple[int, float], float]()
        self._times, self._totals = [time.time()], [0.0]
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def total(self) -> float:
        """All processor seconds."""
        return self._totals[-1]

    def at(self, when: float) -> float:
        """Return the processor seconds by a Unix time."""
        return float(np.interp(when, self._times, self._totals))

    def stop(self) -> None:
        """The process has ended."""
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(LOOK_S):
            with contextlib.suppress(psutil.NoSuchProcess):
                root = psutil.Process(self._pid)
                for process in (root, *root.children(recursive=True)):
                    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                        spent = process.cpu_times()
                        self._last[process.pid, process.create_time()] = spent.user + spent.system
            self._times.append(time.time())
            self._totals.append(sum(self._last.values()))


def _of_lines(text: str) -> list[tuple[float, dict[str, float]]]:
    return [(one["at"], one["values"]) for one in map(json.loads, text.splitlines())]


def _of_database(file: Path) -> list[tuple[float, dict[str, float]]]:
    """Return when each trial of the only study ended and what it came to, in order of time."""
    query = """
        SELECT t.number, t.finished_at, m.metric, m.value FROM paredown_trials t
        JOIN paredown_measurements m ON m.trial_id = t.id WHERE t.state = 'done'
    """
    found: dict[int, tuple[float, dict[str, float]]] = {}
    with contextlib.closing(sqlite3.connect(file)) as database:
        for number, ended, metric, value in database.execute(query):
            at = datetime.fromisoformat(ended).replace(tzinfo=UTC).timestamp()
            found.setdefault(number, (at, {}))[1][metric] = value
    return sorted(found.values(), key=lambda one: one[0])


def write(file: Path, runs: dict[str, Any], seeds: int, trials: int) -> dict[str, Any]:
    """Write the document whole, and return it."""
    document = {
        "claim": "at least 5 times fewer processor seconds than the plain script to its hypervolume inside the region, "
        "and at most a third of those of the earlier Paredown to that one's",
        "cores": psutil.cpu_count(),
        "summary": summary(runs, seeds, trials),
        "runs": runs,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(document, indent=1) + "\n")
    os.replace(fresh, file)
    return document


def summary(runs: dict[str, Any], seeds: int, trials: int) -> dict[str, Any]:
    """Return for each seed the final hypervolume of the arms, and how many times fewer seconds Paredown needed."""
    found: dict[str, Any] = {"seeds": []}
    ratios: dict[str, list[float]] = {"plain": [], "before": []}
    for seed in range(seeds):
        keys = {name: f"{name} {seed} {trials}" for name in ("plain", "now", "before")}
        arms = {name: runs[key] for name, key in keys.items() if key in runs}
        if "plain" not in arms:
            continue
        reference = arms["plain"]["points"][0][1]
        courses = {name: course(arm["points"], reference) for name, arm in arms.items()}
        line: dict[str, Any] = {"seed": seed}
        for name, steps in courses.items():
            line[name] = {"hypervolume": round(steps[-1][1], 4), "processor_s": round(arms[name]["processor_s"], 1)}
        for other in ratios:
            if "now" in courses and other in courses:
                needed = seconds_to(courses["now"], courses[other][-1][1])
                line[f"times_fewer_than_{other}"] = None if needed is None else arms[other]["processor_s"] / needed
                ratios[other].append(0.0 if needed is None else arms[other]["processor_s"] / needed)
        found["seeds"].append(line)
    for other, values in ratios.items():
        found[f"median_times_fewer_than_{other}"] = round(statistics.median(values), 2) if values else None
    return found


def course(points: list[Point], baseline: dict[str, float]) -> list[tuple[float, float]]:
    """Return the hypervolume inside the region after each point, with the processor seconds by then."""
    least = baseline["accuracy"] - POINTS
    worst = [REFERENCE * max(baseline["latency_ms"], FLOOR_MS), REFERENCE * baseline["size_bytes"]]
    inside: list[list[float]] = []
    steps = []
    for at, values in points:
        if values["accuracy"] >= least:
            costs = max(values["latency_ms"], FLOOR_MS) / worst[0], values["size_bytes"] / worst[1]
            inside.append([(1 - values["accuracy"]) / max(1 - least, 1e-12), *costs])
        share = float(moocore.hypervolume(np.array(inside), ref=np.ones(len(METRICS)))) if inside else 0.0
        steps.append((at, share))
    return steps


def seconds_to(steps: list[tuple[float, float]], share: float) -> float | None:
    """Return the processor seconds after which a hypervolume was reached; None where it was not."""
    return next((at for at, reached in steps if reached >= share), None)


if __name__ == "__main__":
    main()
