"""How long a sampler thinks about the next network, at 200 and at 1,000 finished trials.

A study in memory is filled with networks drawn at random from a made landscape (6 knobs, two known costs, three
objectives); then each sampler is asked in turn, so that a busy machine slows all. Optuna's Gaussian process, the
other sampler with a model, is asked for comparison.

    .venv/bin/python benchmarks/asking.py

Writes benchmarks/results/asking.json.
"""

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
import optuna
from landscapes.synthetic import noisy
from optuna.study import StudyDirection

from paredown.search.bench.landscape import Landscape
from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.sampler import Problem

ROOT = Path(__file__).parents[1]


def filled(landscape: Landscape, sampler: str, trials: int) -> optuna.Study:
    """Return a study of so many random networks."""
    distributions = dict(landscape.distributions)
    free = {name: d for name, d in distributions.items() if not d.single()}
    problem = Problem(0, 2 * trials, free, landscape.costs, landscape.canonical)
    directions = [StudyDirection.MAXIMIZE if g.maximise else StudyDirection.MINIMIZE for g in landscape.goals]
    study = optuna.create_study(directions=directions, sampler=SAMPLERS[sampler](problem))
    domain, rng = KnobDomain(free, landscape.canonical), np.random.default_rng(0)
    while len(study.get_trials(deepcopy=False)) < trials:
        params = domain.draw(rng)
        outcome = landscape.outcome(params)
        if outcome.values is not None:
            study.add_trial(
                optuna.create_trial(params=params, distributions=distributions, values=list(outcome.values))
            )
    return study


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samplers", default="cost_aware,tpe,gp")
    parser.add_argument("--trials", default="200,1000")
    parser.add_argument("--asks", type=int, default=7)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    landscape, samplers, document = noisy(), options.samplers.split(","), {}
    for trials in map(int, options.trials.split(",")):
        studies = {name: filled(landscape, name, trials) for name in samplers}
        seconds: dict[str, list[float]] = {name: [] for name in samplers}
        for _ in range(options.asks):
            for name, study in studies.items():
                begin = time.perf_counter()
                trial = study.ask(dict(landscape.distributions))
                seconds[name].append(time.perf_counter() - begin)
                values = landscape.outcome(trial.params).values
                study.tell(
                    trial,
                    None if values is None else list(values),
                    state=None if values else optuna.trial.TrialState.FAIL,
                )
        document[str(trials)] = {
            name: {"median_s": round(statistics.median(s), 3), "first_s": round(s[0], 3), "max_s": round(max(s), 3)}
            for name, s in seconds.items()
        }
        print(trials, document[str(trials)])
    (options.out / "asking.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
