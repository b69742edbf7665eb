"""Metrics, measured values and objectives."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

How = Literal["counted", "measured", "predicted"]


@dataclass(frozen=True)
class Metric:
    """A quantity that a candidate has.

    Attributes:
        name: As users write it, with its unit where a number stands alone.
        unit: The unit in words of SI, "1" for a share.
        how: Whether values are counted exactly, measured with spread, or predicted.
        higher_is_better: The direction.
        highest: The largest value that can occur.
        untrained_tolerance: By what share the value of an untrained network may differ from that of the
            trained one; None where the untrained one says nothing.
    """

    name: str
    unit: str
    how: How
    higher_is_better: bool = False
    highest: float = math.inf
    untrained_tolerance: float | None = 0.0

    def loss(self, value: float) -> float:
        """Return the value as something to minimise."""
        return -value if self.higher_is_better else value


@dataclass(frozen=True)
class Measurement:
    """A value of a metric, and how far to trust it.

    Attributes:
        metric: Name of the metric.
        value: In the metric's unit.
        spread: Half width of the 95 % confidence interval; 0 for what is counted.
        how: As in `Metric`.
        device: What it was measured on; empty where that does not matter.
    """

    metric: str
    value: float
    spread: float = 0.0
    how: How = "counted"
    device: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return asdict(self)


@dataclass(frozen=True)
class Objective:
    """A metric to improve or to keep within a limit, or both.

    Attributes:
        metric: What is looked at.
        optimised: Whether it spans the front.
        limit: The worst acceptable value, in the metric's unit; None for no limit.
    """

    metric: Metric
    optimised: bool = True
    limit: float | None = None

    def violation(self, value: float, tolerance: float = 0.0) -> float:
        """Return by what share of the limit a value is beyond it; 0 or less where it is kept."""
        if self.limit is None:
            return 0.0
        excess = self.metric.loss(value) - self.metric.loss(self.limit)
        return excess / max(abs(self.limit), 1e-12) - tolerance

    def describe(self, value: float) -> str:
        """Return in words how a value stands to the limit."""
        sign = "below the limit" if self.metric.higher_is_better else "above the limit"
        return f"{self.metric.name} {value:g} {self.metric.unit} is {sign} {self.limit:g}"


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
