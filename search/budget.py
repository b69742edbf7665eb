"""How much a search may spend."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """When a search ends.

    Attributes:
        trials: Total number of finished trials in the study: done, stopped early or failed.
        deadline: `time.monotonic()` after which no trial starts and running ones are cut off; None for no limit.
        max_failures: Number of failed trials in a row that aborts the search.
        patience_trials: Number of finished trials in a row without a gain of hypervolume that ends the search; None for
            no limit.
    """

    trials: int
    deadline: float | None = None
    max_failures: int = 10
    patience_trials: int | None = None
