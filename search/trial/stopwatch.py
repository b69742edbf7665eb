"""The time of a trial: how long each stage takes, and when the trial must end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from paredown.evaluators.errors import TrialInterrupted, TrialTimeout


class Stopwatch:
    """Runs from the moment at which it is made.

    Args:
        timeout_s: Seconds after which the trial fails.
        seconds_left: Seconds after which the whole search ends; None for no limit.

    Attributes:
        seconds: Seconds of each stage that has ended.
    """

    def __init__(self, timeout_s: float, seconds_left: float | None) -> None:
        self._timeout_s, self._seconds_left = timeout_s, seconds_left
        self._start = time.monotonic()
        self.seconds: dict[str, float] = {}

    def check(self) -> None:
        """End the trial where its time is over.

        Raises:
            TrialInterrupted: The whole search ends.
            TrialTimeout: The trial has run longer than it may.
        """
        elapsed = time.monotonic() - self._start
        if self._seconds_left is not None and elapsed > self._seconds_left:
            raise TrialInterrupted("the search ends")
        if elapsed > self._timeout_s:
            raise TrialTimeout(f"timeout: {elapsed:.0f} s exceed the limit of {self._timeout_s:g} s")

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count what runs in the context towards a stage, which does not begin where the time is over."""
        self.check()
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - start
