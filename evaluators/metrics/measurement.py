"""Metrics, measured values and objectives."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from paredown.evaluators.metrics.limit import BaselineLimit

How = Literal["counted", "lower bound", "measured", "predicted"]
Comparison = Literal["better", "same", "worse"]
FLOOR_NOTE = "the lowest that can be told"
"""What is said beside a limit at the floor of its metric."""
PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True)
class Metric:
    """A quantity that a candidate has, and all that a display needs to know about it.

    Attributes:
        name: As users write it, with its unit where a number stands alone.
        unit: The unit in words of SI, "1" for a share.
        how: Whether values are counted exactly or from below, measured with spread, or predicted.
        higher_is_better: The direction.
        is_share: Whether it is a number between 0 and 1, whose changes are given in percentage points. Changes of
            other metrics are given in percent of the baseline's value.
        decimals: Digits behind the decimal point in displays; None for whole numbers, which are shortened by a prefix,
            such as 154.5 kB.
        shows_unit: Whether the unit stands behind each number in displays.
        untrained_tolerance: By what share the value of an untrained network may differ from that of the
            trained one; None where the untrained one says nothing.
        floor: Value of a cost below which differences say nothing about a candidate; 0 where there is none.
    """

    name: str
    unit: str
    how: How
    higher_is_better: bool = False
    is_share: bool = False
    decimals: int | None = 4
    shows_unit: bool = True
    untrained_tolerance: float | None = 0.0
    floor: float = 0.0

    @property
    def highest(self) -> float:
        """The largest value that can occur."""
        return 1.0 if self.is_share else math.inf

    @property
    def title(self) -> str:
        """The name with its unit, for the axis of a figure."""
        return self.name if self.is_share else f"{self.name} ({self.unit})"

    def loss(self, value: float) -> float:
        """Return the value as something to minimise; all values below the floor are equal."""
        return -value if self.higher_is_better else self.counted_as(value)

    def counted_as(self, value: float) -> float:
        """Return the value that objectives see: the floor in place of what is below it."""
        return max(value, self.floor) if self.floor else value

    def format(self, value: float, spread: float = 0.0) -> str:
        """Return how a value reads, rounded: `0.9889`, `0.1988 ± 0.0021 ms`, `154.5 kB`."""
        factor, prefix, decimals = 1.0, "", self.decimals
        if decimals is None:
            factor, prefix = next(((f, p) for f, p in PREFIXES if abs(value) >= f), (1.0, ""))
            decimals = 1 if prefix else 0
        number = f"{value / factor:.{decimals}f}" + (f" ± {spread / factor:.2g}" if spread else "")
        return f"{number} {prefix}{self._symbol}".rstrip()

    def with_unit(self, value: float) -> str:
        """Return a value in the metric's unit, for messages: `154532 B`."""
        return f"{value:g}" if self.is_share else f"{value:g} {self.unit}"

    def change(self, value: float, baseline: float) -> float | None:
        """Return how a value differs from the baseline's.

        Returns:
            The difference of shares; for other metrics the difference as a share of the baseline's value, such as
            -0.5 for half of it. None where the baseline's value is 0 and the other is not: there is no such share.
        """
        if self.is_share:
            return value - baseline
        if baseline == 0:
            return 0.0 if value == 0 else None
        return value / baseline - 1

    def format_change(self, value: float, baseline: float) -> str:
        """Return how a change reads: `+0.84 pt`, `-60%`, or `+12 B` where the baseline has 0 B."""
        change = self.change(value, baseline)
        if change is None:
            return f"{'+' if value > 0 else ''}{self.format(value)}"
        return f"{100 * change:+.2f} pt" if self.is_share else f"{change:+.{_digits(change)}%}"

    def compare(self, value: float, baseline: float) -> Comparison:
        """Return whether a value is better than the baseline's."""
        loss, reference = self.loss(value), self.loss(baseline)
        if loss == reference:
            return "same"
        return "better" if loss < reference else "worse"

    @property
    def _symbol(self) -> str:
        return self.unit if self.shows_unit and not self.is_share else ""


def _digits(change: float) -> int:
    """Return how many decimals of a percentage keep a change from reading as none, and what is left as nothing."""
    return next((digits for digits in range(3) if change and round(change, 2 + digits) not in (0.0, -1.0)), 0)


@dataclass(frozen=True)
class Measurement:
    """A value of a metric, and how far to trust it.

    Attributes:
        metric: Name of the metric.
        value: In the metric's unit.
        spread: Half width of the 95 % confidence interval; 0 for what is counted.
        how: As in `Metric`.
        device: What it was measured on; empty where that does not matter.
        note: What else must be known of the value, such as what a lower bound leaves out; not stored with a trial.
    """

    metric: str
    value: float
    spread: float = 0.0
    how: How = "counted"
    device: str = ""
    note: str = field(default="", compare=False)

    def on(self, place: str) -> "Measurement":
        """Return the measurement with the name of the place that its device has in a study: `pi4 (Cortex-A72, ...)`."""
        return replace(self, device=f"{place} ({self.device})")

    def to_json(self) -> dict[str, Any]:
        """Return plain data that JSON can hold, without the note."""
        return {name: value for name, value in asdict(self).items() if name != "note"}


@dataclass(frozen=True)
class Objective:
    """A metric to improve or to keep within a limit, or both.

    Attributes:
        metric: What is looked at.
        optimised: Whether it spans the front.
        limit: The worst acceptable value, in the metric's unit; None where there is none or it is not known yet. One
            below the metric's floor becomes the floor: lower values cannot be told apart.
        relative: How the limit follows from the baseline; None for one that does not.
    """

    metric: Metric
    optimised: bool = True
    limit: float | None = None
    relative: BaselineLimit | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and not self.metric.higher_is_better:
            object.__setattr__(self, "limit", self.metric.counted_as(self.limit))

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit, known or not."""
        return self.limit is not None or self.relative is not None

    def resolved(self, baseline: Mapping[str, float]) -> "Objective":
        """Return the objective with its limit as a number, where the baseline's values by metric tell it."""
        if self.relative is None or self.metric.name not in baseline:
            return self
        return replace(self, limit=self.relative.of(baseline[self.metric.name]))

    @property
    def limit_text(self) -> str:
        """How the limit reads: `accuracy >= 0.969 (baseline - 2 pt)`; empty where there is none."""
        if not self.is_limited:
            return ""
        sign = f"{self.metric.name} {'>=' if self.metric.higher_is_better else '<='}"
        if self.limit is None:
            return f"{sign} {self.relative}"
        return f"{sign} {self.metric.format(self.limit)}{self._notes}"

    def violation(self, value: float, tolerance: float = 0.0) -> float:
        """Return by what share of the limit a value is beyond it; 0 or less where it is kept."""
        if self.limit is None:
            return 0.0
        excess = self.metric.loss(value) - self.metric.loss(self.limit)
        return excess / max(abs(self.limit), 1e-12) - tolerance

    def tighter_than(self, other: "Objective") -> bool:
        """Return whether this limit admits less than another one on the same metric."""
        assert self.limit is not None
        assert other.limit is not None
        return self.metric.loss(self.limit) < self.metric.loss(other.limit)

    def describe(self, value: float) -> str:
        """Return in words how a value stands to the limit."""
        sign = "below the limit" if self.metric.higher_is_better else "above the limit"
        return f"{self.metric.name} {self.metric.with_unit(value)} is {sign} {self.limit:g}{self._notes}"

    @property
    def _notes(self) -> str:
        """Where a known limit comes from, in brackets; empty where it is just what the user wrote."""
        notes = [] if self.relative is None else [str(self.relative)]
        notes += [FLOOR_NOTE] if self.metric.floor and self.limit == self.metric.floor else []
        return f" ({'; '.join(notes)})" if notes else ""


def resolved_objectives(objectives: Iterable[Objective], baseline: Mapping[str, float]) -> tuple[Objective, ...]:
    """Return the objectives with the limits that follow from the baseline as numbers.

    Args:
        objectives: Of a study.
        baseline: Values of the baseline by metric; a limit on one that is missing stays open.
    """
    return tuple(objective.resolved(baseline) for objective in objectives)


def optimised_metrics(objectives: Iterable[Objective]) -> tuple[Metric, ...]:
    """Return the metrics that span the front, in order."""
    return tuple(o.metric for o in objectives if o.optimised)


def broken_limits(
    objectives: tuple[Objective, ...], values: Mapping[str, float], *, untrained: bool = False
) -> list[str]:
    """Return in words each limit that the values break; those not measured are not judged.

    Args:
        objectives: With their limits.
        values: By metric name.
        untrained: Whether the values come from an untrained network, so that their metric's tolerance
            applies.
    """
    broken = []
    for objective in objectives:
        value = values.get(objective.metric.name)
        tolerance = (objective.metric.untrained_tolerance or 0.0) if untrained else 0.0
        if value is not None and objective.violation(value, tolerance) > 0:
            broken.append(objective.describe(value))
    return broken


def violations(
    objectives: Sequence[Objective], values: Mapping[str, float], *, untrained: bool = False
) -> dict[str, float]:
    """Return by what share each limit is broken, by metric; 0 or less where it is kept.

    Args:
        objectives: With their limits.
        values: By metric name.
        untrained: Whether the values come from an untrained network, so that their metric's tolerance applies
            and limits on what is not known yet are left out; otherwise a value that is missing breaks its limit.
    """
    found = {}
    for objective in objectives:
        name = objective.metric.name
        tolerance = (objective.metric.untrained_tolerance or 0.0) if untrained else 0.0
        if objective.limit is not None and name in values:
            found[name] = objective.violation(values[name], tolerance)
        elif objective.limit is not None and not untrained:
            found[name] = 1.0
    return found
