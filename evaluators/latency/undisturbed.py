"""Time that a run takes while nothing disturbs it, as a ratio to a reference: repeats within 2 % on a busy machine.

Latency as users see it is a median of wall-clock times (`paredown.evaluators.metrics.latency_ms`). A predictor learns
from thousands of short measurements instead, often beside other work, so what it learns is the fastest run: on one
thread by the processor time of that thread, in which waiting for a core does not count. Slices of some milliseconds
alternate with slices of the reference, so that caches are warm within one, and a clock that drifts does so for both.
"""

import time
from collections.abc import Callable

from paredown.evaluators.metrics.latency_ms import clock

SLICE_S = 0.003
REFERENCE_SLICE_S = 0.002
FEWEST_RUNS = 3
WARM_UP_RUNS = 5
FEWEST_SLICES = 6


def shortest(run: Callable[[], object], runs: int, now: Callable[[], float]) -> float:
    """Return the shortest time of some runs, in seconds."""
    least = float("inf")
    for _ in range(runs):
        start = now()
        run()
        least = min(least, now() - start)
    return least


def ratio_to(reference: Callable[[], object], run: Callable[[], object], threads: int, seconds: float) -> float:
    """Return the ratio of the time of a run to that of the reference.

    Args:
        reference: Runs the reference.
        run: Runs what is measured.
        threads: Threads on which both run.
        seconds: Seconds to spend, if that is enough for a few slices.
    """
    now = clock(threads)
    own, other = (shortest(each, WARM_UP_RUNS, now) for each in (run, reference))
    runs, reference_runs = (
        max(FEWEST_RUNS, round(length / max(least, 1e-7)))
        for length, least in ((SLICE_S, own), (REFERENCE_SLICE_S, other))
    )
    end, slices = time.perf_counter() + seconds, 0
    while time.perf_counter() < end or slices < FEWEST_SLICES:
        own = min(own, shortest(run, runs, now))
        other = min(other, shortest(reference, reference_runs, now))
        slices += 1
    return own / other
