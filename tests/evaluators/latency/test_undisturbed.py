"""The ratio of a run to a reference, under a clock that the runs themselves move."""

from collections.abc import Callable

import pytest

from paredown.evaluators.latency import undisturbed
from paredown.evaluators.latency.undisturbed import FEWEST_SLICES, WARM_UP_RUNS, ratio_to


class Clock:
    """A clock that stands still but for runs."""

    def __init__(self) -> None:
        self.now = 0.0
        self.runs: dict[Callable[[], None], int] = {}

    def run(self, *seconds: float) -> Callable[[], None]:
        """Return a run that takes one time after the other, again and again."""
        calls = 0

        def run() -> None:
            nonlocal calls
            self.now += seconds[calls % len(seconds)]
            calls += 1
            self.runs[run] = calls

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(undisturbed, "clock", lambda threads: lambda: found.now)
    return found


def test_the_shortest_run_is_told_beside_the_shortest_of_the_reference(clock: Clock) -> None:
    reference, run = clock.run(*[0.003] * (WARM_UP_RUNS + 1), 0.002), clock.run(0.008, 0.005, 0.016)
    assert ratio_to(reference, run, 1, 0.0) == pytest.approx(2.5)
    assert clock.runs[reference] >= WARM_UP_RUNS + FEWEST_SLICES, "the reference has as many slices"
