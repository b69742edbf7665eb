"""The ratio of a run to a reference, under a clock that the runs themselves move."""

from collections.abc import Callable

import pytest

from paredown.evaluators.latency import undisturbed
from paredown.evaluators.latency.undisturbed import FEWEST_RUNS, WARM_UP_RUNS, Visited


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


def test_the_shortest_run_of_all_visits_is_told_beside_the_shortest_of_the_reference(clock: Clock) -> None:
    reference, run = clock.run(*[0.003] * (WARM_UP_RUNS + 1), 0.002), clock.run(*[0.008] * 13, 0.005, 0.016)
    visited = Visited(reference, 1)
    visited.visit(run, 0.0)
    assert visited.ratio == pytest.approx(0.008 / 0.002)
    visited.visit(run, 0.0)
    assert visited.ratio == pytest.approx(0.005 / 0.002)
    assert clock.runs[run] == clock.runs[reference] == 2 * (WARM_UP_RUNS + FEWEST_RUNS)
