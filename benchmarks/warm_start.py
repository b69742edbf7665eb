"""How many trials a study needs that starts from a sister, to reach what the same study reaches without.

    .venv/bin/python benchmarks/warm_start.py --table nas-bench-macro.json

On a table of evaluated networks and on made landscapes, for each seed: a study that starts cold; a study of a sister
task, longer and with a seed of its own; and the first study again, warm. Sister tasks, by how they see accuracy:

- alike: scaled to 70 %, shifted, and tilted by a tenth of its spread along a random direction of the knobs;
- loose: the same with a quarter of the spread;
- wrong: reversed, so that the best network is the worst.

Writes benchmarks/results/warm_start.json, of each landscape and sister: the trials at which the warm study has the
hypervolume with which the cold one ends, and the gaps to the true front on the way.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import optuna
from landscapes.limited import LIMITED
from landscapes.synthetic import SYNTHETIC
from optuna.study import StudyDirection
from optuna.trial import TrialState
from scipy.stats import spearmanr

from paredown.search.bench.landscape import Landscape
from paredown.search.bench.race import Run
from paredown.search.bench.share import full_volume, shares
from paredown.search.bench.table import read_table
from paredown.search.samplers.cost_aware import CostAwareSampler
from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.ranking import hypervolume_order
from paredown.search.samplers.sampler import Params, Problem, Sister

ROOT = Path(__file__).parents[1]
TILTS = {"alike": 0.1, "loose": 0.25, "wrong": 0.0}
SCALE, SHIFT = 0.7, -0.5
Values = tuple[float, ...]
Task = Callable[[Values, Params], Values]
"""What a task measures of a network, from what the landscape has of it."""


def own_task(values: Values, params: Params) -> Values:
    """Return the values as they are."""
    return values


class SisterTask:
    """A task that sees the first unknown objective of a landscape in a way of its own."""

    def __init__(self, landscape: Landscape, kind: str, seed: int) -> None:
        self._kind, self._at = kind, next(i for i, goal in enumerate(landscape.goals) if not goal.known)
        self._domain = KnobDomain(landscape.distributions, landscape.canonical)
        rng = np.random.default_rng([seed, 77])
        drawn = [(params, landscape.outcome(params).values) for params in (self._domain.draw(rng) for _ in range(400))]
        known = [(params, values) for params, values in drawn if values is not None]
        self._direction = rng.normal(size=self._domain.columns)
        tilts = self._domain.encode([params for params, _ in known]) @ self._direction
        found = np.array([values[self._at] for _, values in known])
        self._mean, self._spread = found.mean(), found.std()
        self._tilt_mean, self._tilt_spread = tilts.mean(), tilts.std()
        seen = [self(values, params)[self._at] for params, values in known]
        self.correlation = float(spearmanr(found, seen).statistic)

    def __call__(self, values: Values, params: Params) -> Values:
        """Return what this task measures of a network."""
        unit = (values[self._at] - self._mean) / self._spread
        tilt = (float((self._domain.encode([params]) @ self._direction)[0]) - self._tilt_mean) / self._tilt_spread
        seen = -unit if self._kind == "wrong" else SCALE * (unit + SHIFT) + TILTS[self._kind] * tilt
        changed = list(values)
        changed[self._at] = float(self._mean + self._spread * seen)
        return tuple(changed)


def searched(
    landscape: Landscape, seed: int, trials: int, task: Task, sister: Sister | None = None, first: Sequence[Params] = ()
) -> tuple[Run, list[tuple[Params, Values]]]:
    """Return the run of a study, and the networks that it evaluated with the values of its task."""
    sisters = () if sister is None else (sister,)
    free = dict(landscape.distributions)
    problem = Problem(seed, trials, free, landscape.costs, landscape.canonical, sisters=sisters)
    directions = [StudyDirection.MAXIMIZE if goal.maximise else StudyDirection.MINIMIZE for goal in landscape.goals]
    study = optuna.create_study(directions=directions, sampler=CostAwareSampler(problem))
    for params in first:
        study.enqueue_trial(dict(params))
    run, evaluated = Run("cost_aware", seed), []
    for _ in range(trials):
        trial = study.ask(free)
        outcome = landscape.outcome(trial.params)
        run.losses.append(outcome.losses)
        if outcome.values is None:
            study.tell(trial, state=TrialState.FAIL)
        else:
            values = task(outcome.values, trial.params)
            study.tell(trial, list(values))
            evaluated.append((dict(trial.params), values))
    return run, evaluated


def sister_of(
    landscape: Landscape, evaluated: Sequence[tuple[Params, Values]], most: int
) -> tuple[Sister, list[Params]]:
    """Return the networks of a sister study, and those of its front that are asked first."""
    params = [one for one, _ in evaluated]
    losses = np.array([[g.loss(v) for g, v in zip(landscape.goals, values, strict=True)] for _, values in evaluated])
    costs = np.empty((len(params), 0)) if landscape.costs is None else landscape.costs.count(params)
    front = np.flatnonzero(moocore.is_nondominated(losses))
    first = hypervolume_order(losses[front], losses.max(0), most)
    return Sister(params, losses, costs), [params[int(front[at])] for at in first]


def compared(landscape: Landscape, kind: str, seeds: Sequence[int], trials: int, sister_trials: int) -> dict[str, Any]:
    """Return how warm and cold studies compare over the seeds."""
    reached, correlations = [], []
    gaps: dict[str, list[list[float]]] = {"cold": [], "warm": []}
    at = sorted({trials // 4, trials // 2, trials})
    whole = 0.0
    for seed in seeds:
        cold, _ = searched(landscape, seed, trials, own_task)
        whole = whole or full_volume(landscape, [cold])
        task = SisterTask(landscape, kind, seed)
        correlations.append(task.correlation)
        _, evaluated = searched(landscape, 1000 + seed, sister_trials, task)
        sister, first = sister_of(landscape, evaluated, max(3, min(12, trials // 8)))
        warm, _ = searched(landscape, seed, trials, own_task, sister, first)
        curves = {"cold": shares(cold, landscape.reference, whole), "warm": shares(warm, landscape.reference, whole)}
        wanted = curves["cold"][-1] - 1e-12
        reached.append(next((n for n, share in enumerate(curves["warm"], 1) if share >= wanted), None))
        for arm, curve in curves.items():
            gaps[arm].append([1 - curve[n - 1] for n in at])
        sys.stderr.write(f"{landscape.name}, {kind}, seed {seed}: reached at {reached[-1]} of {trials}\n")
    counted = [trials + 1 if n is None else n for n in reached]
    return {
        "rank_correlation": round(statistics.fmean(correlations), 3),
        "trials": trials,
        "sister_trials": sister_trials,
        "seeds": len(seeds),
        "reached_at": reached,
        "reached_at_median": statistics.median(counted),
        "share_of_seeds_within_half": sum(n <= trials / 2 for n in counted) / len(counted),
        "share_of_seeds_that_reach_it": sum(n is not None for n in reached) / len(reached),
        "gap": {
            arm: {str(n): round(float(np.mean([row[i] for row in rows])), 5) for i, n in enumerate(at)}
            for arm, rows in gaps.items()
        },
    }


def main() -> None:
    """Compare on every landscape; print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="evaluated networks, e.g. nas-bench-macro.json")
    parser.add_argument("--spec", type=Path, default=ROOT / "examples/nas-bench-macro.yaml", help="of the table")
    parser.add_argument("--only", help="comma-separated names of landscapes; that of the table is its file's")
    parser.add_argument("--sisters", default="alike,wrong", help=f"comma-separated: {', '.join(TILTS)}")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--sister-trials", type=int, default=100)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results", help="folder")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    landscapes: dict[str, Callable[[], Landscape]] = {**SYNTHETIC, **LIMITED}
    if options.table is not None:
        landscapes = {options.table.stem: partial(read_table, options.table, options.spec), **landscapes}
    file = options.out / "warm_start.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    for name in options.only.split(",") if options.only else landscapes:
        landscape = landscapes[name]()
        for kind in options.sisters.split(","):
            found = compared(landscape, kind, range(options.seeds), options.trials, options.sister_trials)
            results.setdefault(name, {})[kind] = found
            print(f"{name}, {kind}: {json.dumps({k: v for k, v in found.items() if k != 'reached_at'})}", flush=True)
            file.write_text(json.dumps(results, indent=1) + "\n")
    print(file)


if __name__ == "__main__":
    main()
