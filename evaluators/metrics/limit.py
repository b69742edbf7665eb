"""Limits that follow from the baseline's value, and are known once the baseline is measured."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class BaselineLimit:
    """A limit relative to the baseline.

    Attributes:
        factor: Factor of the baseline's value.
        points: Percentage points that are added to it; 0 for metrics that are no shares.
    """

    factor: float = 1.0
    points: float = 0.0

    def of(self, value: float) -> float:
        """Return the limit for the baseline's value."""
        return self.factor * value + self.points / 100

    def __str__(self) -> str:
        if self.points:
            return f"baseline {'-' if self.points < 0 else '+'} {_written(abs(self.points))} pt"
        return "baseline" if self.factor == 1 else f"{_written(self.factor)} x baseline"


def _written(number: float) -> str:
    """Return a number in the digits that it needs, without an exponent: what is stored is read again."""
    return format(Decimal(repr(number)).normalize(), "f")
