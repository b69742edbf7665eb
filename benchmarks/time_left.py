"""How well the time left that a search shows after ten trials agrees with the time that it then takes.

Searches of the digits are recorded as they run: every event that a listener is told, with its time. A recording is
then replayed to `SearchProgress` under a clock of its own, once for each budget of 20 trials and more that it
contains. When the tenth finished trial has ended, the time left is compared with what the rest of the recording took.

    .venv/bin/python benchmarks/time_left.py record --minutes 20    # real searches; adds to the recordings
    .venv/bin/python benchmarks/time_left.py replay

The recordings are in benchmarks/results/time_left_recordings.json; `replay` writes benchmarks/results/time_left.json.
"""

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.search.api.run import run_study
from paredown.search.listener import ProgressListener, SearchStart
from paredown.search.monitoring.search_progress import SearchProgress
from paredown.spaces.candidate import Candidate
from paredown.studies.result import FINISHED, PendingTrial, TrialResult

RESULTS = Path(__file__).parent / "results"
RECORDINGS = RESULTS / "time_left_recordings.json"
TRIALS = 40
AFTER = 10
"""Number of finished trials after which the time left is judged."""
BUDGETS = range(20, TRIALS + 1, 10)
TOLERANCE, SHARE = 0.2, 0.8
KEPT = ("seconds", "trained_before")
"""Facts of a trial that are recorded."""
FIRST_SEED = 5
"""Seed of the first recordings; the constants of `TrialDurations` were chosen with others, of the seeds before."""

KNOBS = {
    "mbconv.scaling": "free",
    "mbconv.depth": {"low": 1.0, "high": 2.0},
    "mbconv.width": {"low": 0.5, "high": 1.5},
    "mbconv.resolution": [8, 12, 16],
    "mbconv.expansion": [2, 4],
    "mbconv.squeeze_excite": False,
    **dict.fromkeys(f"quantization.{knob}" for knob in ("activations", "calibration", "aware", "max_drop")),
}
"""Networks that train within seconds."""
QUICK: dict[str, Any] = {
    "space": {"steps": ["channel_pruning", "quantization"], "knobs": KNOBS},
    "training": {"epochs": 3, "finetune_epochs": 1, "learning_rate": 6e-3},
}
STUDIES: dict[str, dict[str, Any]] = {
    "cost_aware": QUICK,
    "random": QUICK | {"sampler": "random"},
    "nsga2": QUICK | {"sampler": "nsga2"},
    "halving": QUICK | {"sampler": "random", "halving": {"min_epochs": 1}},
    "pruning alone": QUICK
    | {"space": {"steps": ["channel_pruning"], "knobs": {k: v for k, v in KNOBS.items() if v is not None}}},
    "supernet": QUICK
    | {"training": {"mode": "inherit", "supernet_epochs": 4, "inherit_epochs": 2, "finetune_epochs": 1}},
    "examples/digits.yaml": yaml.safe_load((Path(__file__).parents[1] / "examples" / "digits.yaml").read_text()),
}
"""What is recorded, in turn with one worker and with two."""


class Recorder(ProgressListener):
    """Keeps what a search tells, each event with its seconds since the first trial could start."""

    def __init__(self) -> None:
        self.events: list[list[Any]] = []
        self.workers, self.stopped_share = 0, 0.0

    def _add(self, *event: Any) -> None:
        self.events.append([round(time.monotonic() - self._began, 3), *event])

    def search_started(self, start: SearchStart) -> None:
        """Begin."""
        self._began, self.workers, self.stopped_share = time.monotonic(), start.workers, start.stopped_share

    def started(self, trial: PendingTrial) -> None:
        """Keep a start."""
        self._add("started", trial.number)

    def epoch(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Keep an epoch."""
        self._add("epoch", number, epoch)

    def finished(self, number: int, result: TrialResult) -> None:
        """Keep an end."""
        self._add("finished", number, result.outcome, {key: result.facts[key] for key in KEPT if key in result.facts})

    def skipped(self) -> None:
        """Keep a known candidate."""
        self._add("skipped")


def record(minutes: float) -> None:
    """Run searches until the time is up, and add each recording that is whole to the file."""
    end = time.monotonic() + 60 * minutes
    recordings: list[dict[str, Any]] = json.loads(RECORDINGS.read_text()) if RECORDINGS.exists() else []
    begun = {(one["study"], one["workers"], one["seed"]) for one in recordings}
    for seed, workers, name in itertools.product(range(FIRST_SEED, 100), (1, 2), STUDIES):
        if (name, workers, seed) in begun:
            continue
        recorder = Recorder()
        with tempfile.TemporaryDirectory() as folder:
            study = {"study": "recorded", "task": "digits"} | STUDIES[name]
            run_study(
                study,
                **{"trials": TRIALS, "workers": workers, "seed": seed, "timeout": max(1.0, end - time.monotonic())},
                storage=f"sqlite:///{folder}/recorded.db",
                out=folder,
                progress=recorder,
            )
        if time.monotonic() > end:
            return
        kept = {"study": name, "workers": recorder.workers, "seed": seed, "stopped_share": recorder.stopped_share}
        recordings.append(kept | {"events": recorder.events})
        RECORDINGS.write_text("[\n" + ",\n".join(json.dumps(one) for one in recordings) + "\n]\n")
        print(f"{name}, {workers} at a time, seed {seed}: {recorder.events[-1][0]:.0f} s", flush=True)


def replayed(recording: Mapping[str, Any], trials: int) -> Iterator[tuple[int, float, float | None]]:
    """Replay a recording up to a number of finished trials.

    Yields:
        Number of finished trials, seconds so far, and the time left that is shown, at the end of each trial.
    """
    progress, now = SearchProgress(), 0.0
    metrics = [EVALUATORS[name].metric for name in ("accuracy", "latency_ms", "size_bytes")]
    # SearchProgress reads the clock of the machine; a replay takes no time, so it brings its own.
    with mock.patch("time.monotonic", side_effect=lambda: now):
        progress.search_started(
            SearchStart(
                "",
                metrics,
                trials,
                None,
                (),
                {},
                recording["workers"],
                _sampler(recording),
                stopped_share=recording["stopped_share"],
            )
        )
        started = 0
        for now, kind, *what in recording["events"]:
            if kind == "started":
                started += 1
                progress.started(PendingTrial(what[0], Candidate("mbconv", {})))
            elif kind == "epoch":
                progress.epoch(what[0], what[1], {})
            elif kind == "skipped":
                progress.skipped()
            elif what[0] in progress.running:
                progress.finished(what[0], TrialResult(what[1], facts=what[2]))
                if what[1] in FINISHED:
                    yield progress.spent, now, progress.seconds_left
                if progress.spent >= trials:
                    return


def errors(recording: Mapping[str, Any], trials: int) -> list[float]:
    """Return the relative error of the time left after each trial from the tenth on, except the last few."""
    shown = list(replayed(recording, trials))
    end = shown[-1][1]
    judged = [one for one in shown if AFTER <= one[0] <= trials - 5]
    return [(left or 0.0) / (end - now) - 1 for _, now, left in judged]


def others(recordings: Sequence[Mapping[str, Any]], trials: int) -> list[float]:
    """Return the errors of a guess that no search can make: the mean time of the same rest with all other seeds.

    It says how much of an error is chance: which networks a seed brings. Recordings without another seed are left out.
    """
    found = []
    rests = [shown[-1][1] - shown[0][1] for shown in (_judged(one, trials) for one in recordings)]
    for one, rest in zip(recordings, rests, strict=True):
        alike = [
            time_s
            for other, time_s in zip(recordings, rests, strict=True)
            if other is not one and all(other[key] == one[key] for key in ("study", "workers"))
        ]
        if alike:
            found.append(statistics.fmean(alike) / rest - 1)
    return found


def _judged(recording: Mapping[str, Any], trials: int) -> list[tuple[int, float, float | None]]:
    return [one for one in replayed(recording, trials) if one[0] >= AFTER]


def replay() -> None:
    """Print the share of the searches whose time left was right, and write it."""
    recordings = json.loads(RECORDINGS.read_text())
    found = [
        {"study": r["study"], "workers": r["workers"], "seed": r["seed"], "trials": trials, "errors": errors(r, trials)}
        for r in recordings
        for trials in BUDGETS
    ]
    first = [abs(one["errors"][0]) for one in found]
    later = [abs(error) for one in found for error in one["errors"]]
    guessed = [abs(error) for trials in BUDGETS for error in others(recordings, trials)]
    whole = [abs(one["errors"][0]) for one in found if one["trials"] == TRIALS]
    document = {
        "claim": f"after {AFTER} trials the time left is within {TOLERANCE:.0%} in {SHARE:.0%} of the searches",
        "recordings": len(recordings),
        "searches": len(found),
        "share_within": _share(first),
        f"share_within_of_{TRIALS}_trials": _share(whole),
        "share_within_at_all_later_trials": _share(later),
        "share_within_by_the_mean_of_other_seeds": _share(guessed) if guessed else None,
        "median_error": round(statistics.median(first), 3),
        "holds": _share(first) >= SHARE,
        "worst": [
            {key: one[key] for key in ("study", "workers", "seed", "trials")} | {"error": round(one["errors"][0], 3)}
            for one in sorted(found, key=lambda one: -abs(one["errors"][0]))[:5]
        ],
    }
    (RESULTS / "time_left.json").write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))


def _sampler(recording: Mapping[str, Any]) -> str:
    return str(STUDIES[recording["study"]].get("sampler", "cost_aware"))


def _share(of: list[float]) -> float:
    return round(sum(error <= TOLERANCE for error in of) / len(of), 3)


def main() -> None:
    """Record or replay."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["record", "replay"])
    parser.add_argument("--minutes", type=float, default=20, help="minutes of recording")
    options = parser.parse_args()
    if options.what == "record":
        record(options.minutes)
    else:
        replay()


if __name__ == "__main__":
    main()
