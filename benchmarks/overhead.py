"""What a study costs beside plain Optuna, at many finished trials.

Both sides use NSGA-II, the same 12 knobs, two objectives that cost nothing, and the same kind of SQLite file. Blocks
of ask + tell alternate between the two, so that a busy machine slows both; the ratio of each pair of blocks is
taken. Ours writes its own rows as well (trial, five measurements, a curve of ten epochs).

    .venv/bin/python benchmarks/overhead.py --trials 1000
"""

import argparse
import json
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import optuna

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.measurement import Measurement, Objective
from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.sampler import Problem
from paredown.spaces.candidate import Candidate
from paredown.spaces.knob import Range, Suggester
from paredown.studies.database import open_storage
from paredown.studies.result import TrialResult
from paredown.studies.study import Study

KNOBS = {f"mbconv.k{i}": Range(0, 10_000, 1) for i in range(12)}
BLOCK = 10


def sample(trial: Suggester) -> Candidate:
    """Ask for every knob."""
    return Candidate("mbconv", {name: knob.suggest(trial, name) for name, knob in KNOBS.items()})


def values(candidate: Candidate) -> tuple[float, float]:
    """Return two objectives that oppose each other."""
    knobs = [float(v) / 10_000 for v in candidate.knobs.values()]
    return sum(k * k for k in knobs), sum((k - 1) ** 2 for k in knobs)


def plain(study: optuna.Study, count: int) -> None:
    """Ask and tell with Optuna alone."""
    for _ in range(count):
        trial = study.ask()
        study.tell(trial, list(values(sample(trial))))  # type: ignore[arg-type]


def ours(study: Study, count: int) -> None:
    """Ask and tell with a study, rows and curve included."""
    for _ in range(count):
        asked = study.ask(sample)
        if asked is None:
            continue
        latency, size = values(asked.candidate)
        numbers = {"accuracy": 0.9, "latency_ms": latency, "size_bytes": size, "macs": 1.0, "params": 1.0}
        measured = {name: Measurement(name, value) for name, value in numbers.items()}
        curve = tuple((epoch, {"loss": 1.0, "accuracy": 0.5}) for epoch in range(10))
        study.tell(asked.number, TrialResult("done", measurements=measured, curve=curve))


def main() -> None:
    """Print the ratio as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000, help="finished trials before the measurement")
    parser.add_argument("--blocks", type=int, default=15, help=f"measured pairs of blocks of {BLOCK} trials")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    with tempfile.TemporaryDirectory() as folder:
        objectives = [Objective(EVALUATORS[name].metric) for name in ("latency_ms", "size_bytes")]
        baseline = Candidate("mbconv", dict.fromkeys(KNOBS, 5000)).to_json()
        url = f"sqlite:///{Path(folder, 'ours.db')}"
        study = Study.create(url, "overhead", {"baseline": baseline}, objectives, folder)
        study.use(SAMPLERS["nsga2"](Problem(0, options.trials)))
        storage = open_storage(f"sqlite:///{Path(folder, 'plain.db')}")
        reference = optuna.create_study(
            storage=storage, directions=["minimize"] * 2, sampler=SAMPLERS["nsga2"](Problem(0, options.trials))
        )
        plain(reference, options.trials)
        ours(study, options.trials)
        pairs = []
        for block in range(options.blocks):
            sides = [("plain", lambda: plain(reference, BLOCK)), ("ours", lambda: ours(study, BLOCK))]
            seconds = {}
            for name, run in sides if block % 2 else reversed(sides):
                start = time.perf_counter()
                run()
                seconds[name] = time.perf_counter() - start
            pairs.append(seconds)
    ratios = sorted(pair["ours"] / pair["plain"] for pair in pairs)
    document = {
        "claim": "ask + tell + own rows cost at most twice plain Optuna's ask + tell",
        "finished_trials": options.trials,
        "pairs": len(pairs),
        "plain_ms_per_trial": round(statistics.median(p["plain"] for p in pairs) * 1e3 / BLOCK, 2),
        "ours_ms_per_trial": round(statistics.median(p["ours"] for p in pairs) * 1e3 / BLOCK, 2),
        "ratio_median": round(statistics.median(ratios), 3),
        "ratio_quartiles": [round(ratios[len(ratios) // 4], 3), round(ratios[3 * len(ratios) // 4], 3)],
        "holds": statistics.median(ratios) <= 2,
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
