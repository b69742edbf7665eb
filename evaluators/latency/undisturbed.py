"""Time that a run takes while nothing disturbs it, as a ratio to a reference: repeats within 2 % on a busy machine.

Latency as users see it is a median of wall-clock times (`paredown.evaluators.metrics.latency_ms`). A predictor learns
from thousands of short measurements instead, often beside other work, so what it learns is the fastest run: on one
thread by the processor time of that thread, in which waiting for a core does not count. Slices of some milliseconds
alternate with slices of the reference, so that caches are warm within one, and a clock that drifts does so for both.

What others do to the caches of a machine lasts for a tenth of a second and longer, so the slices are spread over
several visits, seconds apart.
"""

import time
from collections.abc import Callable

from paredown.evaluators.metrics.latency_ms import clock

SLICE_S = 0.003
REFERENCE_SLICE_S = 0.002
FEWEST_RUNS = 3
WARM_UP_RUNS = 5


def shortest(run: Callable[[], object], runs: int, now: Callable[[], float]) -> float:
    """Return the shortest time of some runs, in seconds."""
    least = float("inf")
    for _ in range(runs):
        start = now()
        run()
        least = min(least, now() - start)
    return least


class Visited:
    """The shortest time of a run beside that of a reference, over all visits."""

    def __init__(self, reference: Callable[[], object], threads: int) -> None:
        """Measure nothing yet.

        Args:
            reference: Runs the reference.
            threads: Threads on which it runs, and what is measured.
        """
        self._now, self._reference, self._least = clock(threads), reference, [float("inf")] * 2

    def visit(self, run: Callable[[], object], seconds: float) -> None:
        """Measure a run for some seconds, if that is enough for one slice of it and of the reference."""
        both = (run, self._reference)
        often = [
            max(FEWEST_RUNS, round(length / max(shortest(each, WARM_UP_RUNS, self._now), 1e-7)))
            for each, length in zip(both, (SLICE_S, REFERENCE_SLICE_S), strict=True)
        ]
        end, slices = time.perf_counter() + seconds, 0
        while time.perf_counter() < end or not slices:
            for at, each in enumerate(both):
                self._least[at] = min(self._least[at], shortest(each, often[at], self._now))
            slices += 1

    @property
    def least(self) -> tuple[float, float]:
        """Shortest time of the run, and of the reference, in seconds."""
        own, other = self._least
        return own, other

    @property
    def ratio(self) -> float:
        """Ratio of the time of the run to that of the reference."""
        own, other = self._least
        return own / other
