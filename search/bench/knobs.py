"""The knobs of a table: their values, their ranges, and the value of the table nearest to a proposal."""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from paredown.search.bench.columns import Columns, is_empty
from paredown.search.bench.spec import KnobSpec
from paredown.search.errors import ConfigError


@dataclass(frozen=True)
class TableKnob:
    """A knob of a table.

    Attributes:
        name: Name in the spec.
        cells: Value in each network, None where the network has no such knob.
        distribution: The distribution that samplers draw from.
        levels: Values that occur, in order, where a proposal is snapped to the nearest one; None where proposals are
            exact.
    """

    name: str
    cells: Sequence[Any]
    distribution: BaseDistribution
    levels: Sequence[float] | None

    def nearest(self, value: Any) -> Any:
        """Return the value of the table that is nearest to a proposed one."""
        if self.levels is None:
            return value
        at = bisect.bisect_left(self.levels, value)
        near = self.levels[max(0, at - 1) : at + 1]
        return min(near, key=lambda level: abs(level - value))


def read_knob(name: str, spec: KnobSpec, columns: Columns, where: str) -> TableKnob:
    """Return a knob of the spec with its cells.

    Args:
        name: Name of the knob.
        spec: Its entry in the spec.
        columns: The table.
        where: Name of the spec file in messages.

    Raises:
        ConfigError: A cell is empty or holds a value that the spec does not allow; the message names the row.
    """
    asker = f"{where}: knobs.{name}"
    column = spec.column or name
    cells = columns.pick(column, asker)
    read = {"choice": _choice, "int": _int, "float": _float}[spec.type]
    values: list[Any] = []
    for cell, row in zip(cells, columns.rows, strict=True):
        at = f"{columns.where}: {asker}: column {column!r}, {row}"
        if is_empty(cell):
            if not spec.optional:
                raise ConfigError(f"{at}: is empty; allowed where the spec says `optional: true`")
            values.append(None)
        else:
            values.append(_allowed(read(cell, spec, at), spec, at))
    present = [value for value in values if value is not None]
    if not present:
        raise ConfigError(f"{columns.where}: {asker}: column {column!r} is empty in every row")
    distribution, levels = _distribution(spec, present, asker)
    return TableKnob(name, values, distribution, levels)


def _choice(cell: Any, spec: KnobSpec, at: str) -> Any:
    for value in spec.values or ():
        if (cell == value and isinstance(cell, bool) == isinstance(value, bool)) or cell == str(value):
            return value
    if not isinstance(cell, str | int | float | bool):
        raise ConfigError(f"{at}: {cell!r} is no value of a knob; allowed: text, numbers, true and false")
    return cell


def _int(cell: Any, spec: KnobSpec, at: str) -> int:
    value = _float(cell, spec, at)
    if value != round(value):
        raise ConfigError(f"{at}: {cell!r} is no whole number")
    return round(value)


def _float(cell: Any, spec: KnobSpec, at: str) -> float:
    try:
        value = math.nan if isinstance(cell, bool) else float(cell)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"{at}: {cell!r} is no number")
    return value


def _allowed(value: Any, spec: KnobSpec, at: str) -> Any:
    if spec.values is not None and value not in spec.values:
        raise ConfigError(f"{at}: {value!r} is not allowed; allowed: {', '.join(map(str, spec.values))}")
    if spec.type == "choice":
        return value
    low = -math.inf if spec.low is None else spec.low
    high = math.inf if spec.high is None else spec.high
    if not low <= value <= high:
        raise ConfigError(f"{at}: {value!r} is not allowed; allowed: {low:g} to {high:g}")
    return value


def _distribution(spec: KnobSpec, present: list[Any], asker: str) -> tuple[BaseDistribution, list[float] | None]:
    if spec.type == "choice":
        choices = spec.values or sorted(set(present), key=lambda v: (isinstance(v, str), v))
        return CategoricalDistribution(choices), None
    levels = sorted(set(spec.values or present) | {v for v in (spec.low, spec.high) if v is not None})
    occurring = sorted(set(present))
    if spec.log and levels[0] <= 0:
        raise ConfigError(f"{asker}: log: needs values above 0; the smallest is {levels[0]:g}")
    if spec.type == "int":
        whole = [int(level) for level in levels]
        step = 1 if spec.log else math.gcd(*(level - whole[0] for level in whole)) or 1
        exact = not spec.log and occurring == list(range(whole[0], whole[-1] + 1, step))
        return IntDistribution(whole[0], whole[-1], log=spec.log, step=step), None if exact else occurring
    return FloatDistribution(levels[0], levels[-1], log=spec.log), occurring
