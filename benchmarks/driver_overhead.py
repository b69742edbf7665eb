"""Seconds between two trials of a worker, and what a second worker brings, on this machine and through Ray.

Trials note when they begin and end. The overhead is the median of the time from the end of one to the begin of the next
on one worker, the first two trials left out: the worker and Ray are warm by then. With two workers, the trials per
second are compared with those of one, from the moment at which each worker has ended a trial after the baseline; trials
sleep, so that other work on the machine counts little. How long the second worker took to start is told beside.

    .venv/bin/python benchmarks/driver_overhead.py [--kind computing] [--drivers local,ray]

Writes benchmarks/results/driver_overhead.json.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
sys.path.append(str(HERE))
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])

import priced_trials  # noqa: E402 - workers find it by the path above

from paredown.search.run import search  # noqa: E402
from paredown.search.trial_queue import STOPPED  # noqa: E402

COLD = 2
"""Number of trials of each worker that are not judged, the baseline among them."""
MAX_OVERHEAD_S, MIN_SPEED_UP = 0.5, 1.7


class Ran(NamedTuple):
    """When a trial began and ended, by the clock, and in which process."""

    began: float
    ended: float
    pid: int


def times(driver: str, workers: int, trials: int, seconds: float, kind: str) -> list[Ran]:
    """Run a search and return its trials in the order in which they began."""
    os.environ[priced_trials.SECONDS] = str(seconds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        setup = priced_trials.setup(folder, trials=trials, workers=workers, driver=driver)
        summary = search(setup, f"sqlite:///{folder}/s.db", run=priced_trials.KINDS[kind])
        assert summary.reason != STOPPED
        facts = [row["facts"] for row in summary.study.rows() if row["state"] == "done"]
    return sorted(Ran(one["began"], one["ended"], one["pid"]) for one in facts)


def overhead_s(ran: list[Ran]) -> list[float]:
    """Return the seconds from one warm trial to the next on one worker."""
    return [after.began - before.ended for before, after in zip(ran[COLD - 1 :], ran[COLD:], strict=False)]


def started_s(ran: list[Ran]) -> float:
    """Return the seconds from the end of the baseline to the first trial of the worker that started last."""
    firsts = {one.pid: one.began for one in reversed(ran[1:])}
    return max(firsts.values()) - ran[0].ended


def per_second(ran: list[Ran], workers: int) -> float:
    """Return the number of trials a second, from the moment at which each worker has ended a trial."""
    firsts = {one.pid: one.ended for one in reversed(ran[1:])}
    assert len(firsts) == workers, f"{len(firsts)} of {workers} workers ran a trial"
    ends = sorted(one.ended for one in ran if one.ended >= max(firsts.values()))
    return (len(ends) - 1) / (ends[-1] - ends[0])


def main() -> None:
    """Measure each driver and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drivers", default="local,ray")
    parser.add_argument("--kind", choices=list(priced_trials.KINDS), default="sleeping")
    parser.add_argument("--trial-s", type=float, default=5.0, help="seconds of a trial where workers are compared")
    parser.add_argument("--trials", type=int, default=30, help="number of trials where workers are compared")
    options = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    for driver in options.drivers.split(","):
        gaps = overhead_s(times(driver, 1, 20, 0.5, options.kind))
        one = per_second(times(driver, 1, 8, options.trial_s, options.kind), 1)
        both = times(driver, 2, options.trials, options.trial_s, options.kind)
        two = per_second(both, 2)
        found[driver] = {
            "overhead_s": round(statistics.median(gaps), 3),
            "overhead_s_largest": round(max(gaps), 3),
            "trials_measured": len(gaps),
            "speed_up_of_two_workers": round(two / one, 2),
            "second_worker_after_s": round(started_s(both), 1),
            "trials_of_workers": sorted(Counter(one.pid for one in both).values()),
            "holds": statistics.median(gaps) < MAX_OVERHEAD_S and two / one >= MIN_SPEED_UP,
        }
        print(driver, json.dumps(found[driver]), flush=True)
    document = {
        "claim": f"under {MAX_OVERHEAD_S} s between two trials; two workers at least {MIN_SPEED_UP} times one",
        "trials": options.kind,
        "trial_s": options.trial_s,
        "drivers": found,
        "holds": all(one["holds"] for one in found.values()),
    }
    (HERE / "results" / "driver_overhead.json").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
