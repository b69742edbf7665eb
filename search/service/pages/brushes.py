"""Ranges that someone keeps on the axes of the parallel coordinates: they are values, which new trials do not move."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HALF = 0.14
"""Half of the width of the box of a brush; axes are 1 apart."""
EDGE = 0.05
"""How far the box of a brush without an end reaches beyond its axis, whose length is 1."""
Brush = dict[str, Any]
"""A range as the browser keeps it: `axis`, and `low` and `high`, which are None where it has no end.

The ends are numbers, or names on an axis of choices.
"""


@dataclass(frozen=True)
class Axis:
    """An axis as it is drawn.

    Attributes:
        label: Metric, or knob in two lines.
        low: Value at the lower end.
        high: Value at the upper end.
        choices: Names of the values 0, 1, ...; empty on an axis of numbers.
    """

    label: str
    low: float
    high: float
    choices: Sequence[str] = ()

    @classmethod
    def of(cls, label: str, values: Sequence[float], choices: Sequence[str] = ()) -> "Axis":
        """Return an axis on which all values fit."""
        known = [value for value in values if math.isfinite(value)] or [0.0]
        low, high = min(known), max(known)
        return cls(label, low, high, choices) if high > low else cls(label, low - 0.5, high + 0.5, choices)

    def height(self, value: float) -> float:
        """Return where a value stands: 0 at the lower end, 1 at the upper one."""
        return (value - self.low) / (self.high - self.low)

    def brush(self, bottom: float, top: float) -> Brush | None:
        """Return the range between two heights; None where no choice stands in it."""
        ends: list[Any] = [self.low + height * (self.high - self.low) for height in (bottom, top)]
        if self.choices:
            inside = [name for at, name in enumerate(self.choices) if ends[0] <= at <= ends[1]]
            return {"axis": self.label, "low": inside[0], "high": inside[-1]} if inside else None
        return {"axis": self.label, "low": ends[0] if bottom > 0 else None, "high": ends[1] if top < 1 else None}

    def ends(self, brush: Brush) -> tuple[float, float]:
        """Return the smallest and the largest value of a range."""
        low, high = brush["low"], brush["high"]
        if self.choices:
            return self.choices.index(low) - 0.5, self.choices.index(high) + 0.5
        return -math.inf if low is None else low, math.inf if high is None else high

    def box(self, at: int, brush: Brush) -> dict[str, Any]:
        """Return the box of a range in the figure, in which this is the axis `at`."""
        heights = [min(1 + EDGE, max(-EDGE, self.height(value))) for value in self.ends(brush)]
        return {"type": "rect", "x0": at - HALF, "x1": at + HALF, "y0": heights[0], "y1": heights[1]}


def boxes(brushes: Sequence[Brush], axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """Return the boxes of ranges in the figure; a range whose axis is not drawn has none."""
    places = {axis.label: at for at, axis in enumerate(axes)}
    return [axes[at].box(at, one) for one in brushes if (at := places.get(one["axis"], -1)) >= 0]


def brushes_after(event: Mapping[str, Any], brushes: Sequence[Brush], axes: Sequence[Axis]) -> list[Brush] | None:
    """Return the ranges after something has happened to the figure; None where it concerned none of them.

    Args:
        event: What has changed in the layout, as Plotly says it.
        brushes: Ranges before.
        axes: Axes as they were drawn.
    """
    drawn = [box for box in event.get("selections") or () if box.get("type") == "rect"]
    if "selections" not in event:
        drawn, moved = boxes(brushes, axes), False
        for key, value in event.items():
            found = re.fullmatch(r"selections\[(\d+)\]\.([xy][01])", key)
            if found and int(found[1]) < len(drawn):
                drawn[int(found[1])][found[2]], moved = value, True
        if not moved:
            return None
    return [brush for box in drawn for brush in _brushes(box, axes)]


def _brushes(box: Mapping[str, Any], axes: Sequence[Axis]) -> list[Brush]:
    """Return the ranges of a box: on each axis that it covers, or on the nearest one."""
    left, right = sorted((box["x0"], box["x1"]))
    bottom, top = sorted((box["y0"], box["y1"]))
    covered = [axis for at, axis in enumerate(axes) if left <= at <= right]
    if not covered:
        covered = [axes[min(range(len(axes)), key=lambda at: abs(2 * at - left - right))]]
    return [brush for axis in covered if (brush := axis.brush(bottom, top)) is not None]


def inside(brushes: Sequence[Brush], axes: Sequence[Axis], values: Sequence[Sequence[float]]) -> list[int] | None:
    """Return the places of the models in the ranges, one on each axis that has some; None where there is no range.

    Args:
        brushes: The ranges.
        axes: The axes.
        values: Values of all models along each axis.
    """
    kept: set[int] | None = None
    for axis, along in zip(axes, values, strict=True):
        ends = [axis.ends(one) for one in brushes if one["axis"] == axis.label]
        if ends:
            here = {at for at, value in enumerate(along) if any(low <= value <= high for low, high in ends)}
            kept = here if kept is None else kept & here
    return None if kept is None else sorted(kept)
