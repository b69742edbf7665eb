"""Knobs: the dimensions of the space, each a frozen set of values."""

import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from paredown.spaces.errors import SpaceError

Value = str | int | float | bool
Knobs = Mapping[str, Value]
Condition = tuple[str, Value | tuple[Value, ...]]
"""A sibling and the value, or the values, that it must have."""


class Suggester(Protocol):
    """What a knob needs of a sampler; an Optuna trial is one."""

    def suggest_categorical(self, name: str, choices: tuple[Value, ...]) -> Value:
        """Pick one of the choices."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """Pick an integer of the range."""

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None = None) -> float:
        """Pick a number of the range."""


@dataclass(frozen=True)
class Choice:
    """One of a few values.

    Attributes:
        values: What may be chosen.
        only_if: `(sibling, value)` or `(sibling, (value, ...))`: the knob counts only while its sibling counts and has
            that value, or one of them.
        open: Whether a study file may put any other text in the place of the values.
    """

    values: tuple[Value, ...]
    only_if: Condition | None = None
    open: bool = False

    def __contains__(self, value: object) -> bool:
        return any(value == v and isinstance(value, bool) == isinstance(v, bool) for v in self.values)

    def takes(self, value: object) -> bool:
        """Return whether a person may give the value: one of those, or any text where the knob is open."""
        return value in self or (self.open and isinstance(value, str))

    def __str__(self) -> str:
        return "one of " + ", ".join(str(v) for v in self.values)

    @property
    def taken(self) -> str:
        """What a person may give, in words."""
        return "any text" if self.open else str(self)

    @property
    def lowest(self) -> Value:
        """The first value, taken while the knob is inactive."""
        return self.values[0]

    @property
    def highest(self) -> Value:
        """The last value."""
        return self.values[-1]

    @property
    def count(self) -> int:
        """How many values there are."""
        return len(self.values)

    @property
    def is_fixed(self) -> bool:
        """Whether there is nothing to choose."""
        return len(self.values) == 1

    def nearest(self, value: Value) -> Value:
        """Return the value itself where it is allowed, else the first one."""
        return next((v for v in self.values if v == value), self.values[0]) if value in self else self.values[0]

    def next_to(self, value: Value) -> Value:
        """Return the first other value."""
        return next((v for v in self.values if v != value), value)

    def suggest(self, trial: Suggester, name: str) -> Value:
        """Ask the sampler."""
        return trial.suggest_categorical(name, self.values)

    def narrowed(self, spec: object) -> "Choice":
        """Return the part of the knob that a study file asks for: a value or a list of values.

        Raises:
            SpaceError: A value is not one of the knob's.
        """
        wanted = tuple(spec) if isinstance(spec, list) else (spec,)
        if not wanted:
            raise SpaceError(f"[] leaves nothing to choose; allowed: {self}")
        if self.open:  # YAML reads the text 5 as a number; 1.10 as 1.1, which may be another text
            wanted = tuple(str(value) if type(value) is int else value for value in wanted)
        for value in wanted:
            if not self.takes(value):
                quotes = ", this one in quotes" if self.open and isinstance(value, bool | float) else ""
                raise SpaceError(f"{value!r} is not allowed; allowed: {self.taken}{quotes}")
        return replace(self, values=wanted if self.open else tuple(v for v in self.values if v in wanted))


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included, in steps; integers where all three are.

    Attributes:
        low: The smallest value.
        high: The largest value.
        step: Distance of neighbours.
        only_if: `(sibling, value)` or `(sibling, (value, ...))`: the knob counts only while its sibling counts and has
            that value, or one of them.
    """

    low: float
    high: float
    step: float
    only_if: Condition | None = None

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / self.step
        return math.isclose(steps, round(steps), abs_tol=1e-6)

    def takes(self, value: object) -> bool:
        """Return whether a person may give the number: also one between the steps, which are what a search tries."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low <= value <= self.high and (isinstance(value, int) or not self._is_integer)

    def __str__(self) -> str:
        return f"{self.low} to {self.high} in steps of {self.step}"

    @property
    def taken(self) -> str:
        """What a person may give, in words."""
        return f"{'whole numbers from ' if self._is_integer else ''}{self.low} to {self.high}"

    @property
    def lowest(self) -> int | float:
        """The smallest value, taken while the knob is inactive."""
        return self._number(self.low)

    @property
    def highest(self) -> int | float:
        """The largest value."""
        return self._number(self.high)

    @property
    def count(self) -> int:
        """How many values there are."""
        return round((self.high - self.low) / self.step) + 1

    @property
    def is_fixed(self) -> bool:
        """Whether there is nothing to choose."""
        return self.low == self.high

    def nearest(self, value: Value) -> int | float:
        """Return the allowed value nearest to a number."""
        if isinstance(value, str):
            return self.lowest
        steps = round((min(max(value, self.low), self.high) - self.low) / self.step)
        return self._number(min(self.low + steps * self.step, self.high))

    def next_to(self, value: Value) -> Value:
        """Return the other value nearest to a number."""
        at = self.nearest(value)
        others = [v for v in (self.nearest(at - self.step), self.nearest(at + self.step)) if v != value]
        return others[0] if others else at

    @property
    def values(self) -> tuple[int | float, ...]:
        """All numbers of the range."""
        return tuple(
            self._number(self.low + i * self.step) for i in range(round((self.high - self.low) / self.step) + 1)
        )

    def narrowed(self, spec: object) -> "Range | Levels":
        """Return the part of the range that a study file asks for: a number, a list of numbers or `{low, high, step}`.

        Raises:
            SpaceError: The bounds are upside down, outside the range or no numbers.
        """
        if isinstance(spec, list):
            return self._listed(spec)
        if isinstance(spec, Mapping):
            if unknown := set(spec) - {"low", "high", "step"}:
                raise SpaceError(f"unknown key {sorted(unknown)[0]!r}; allowed: low, high, step")
            low, high, step = (spec.get(k, getattr(self, k)) for k in ("low", "high", "step"))
        else:
            low, high, step = spec, spec, self.step
        for value in (low, high, step):
            _check_number(value, self)
        if low > high:
            raise SpaceError(f"low {low} is above high {high}; the range is upside down")
        if low not in self or high not in self:
            raise SpaceError(f"{low if low not in self else high} is not allowed; allowed: {self}")
        if step <= 0 or not math.isclose(step / self.step, round(step / self.step)):
            raise SpaceError(f"step {step} is not a positive multiple of {self.step}")
        if low != high and high not in (narrow := replace(self, low=low, high=high, step=step)):
            raise SpaceError(f"high {high} is not reached from low {low} in steps of {narrow.step}")
        return replace(self, low=self._number(low), high=self._number(high), step=self._number(step))

    def _listed(self, spec: list[object]) -> "Range | Levels":
        """Return the numbers of a list: a range where they are evenly spaced, so that samplers know their order."""
        if not spec:
            raise SpaceError(f"[] leaves nothing to choose; allowed: {self}")
        values = [_check_number(value, self) for value in spec]
        for value in values:
            if value not in self:
                raise SpaceError(f"{value!r} is not allowed; allowed: {self}")
        numbers = sorted({self.nearest(value) for value in values})
        gaps = {round((high - low) / self.step) for low, high in itertools.pairwise(numbers)}
        if len(gaps) > 1:
            return Levels(tuple(numbers), self.only_if)
        step = self._number(max(gaps, default=1) * self.step)
        return replace(self, low=numbers[0], high=numbers[-1], step=step)

    def suggest(self, trial: Suggester, name: str) -> Value:
        """Ask the sampler."""
        if self._is_integer:
            return trial.suggest_int(name, int(self.low), int(self.high), step=int(self.step))
        return self._number(trial.suggest_float(name, self.low, self.high, step=self.step))

    @functools.cached_property
    def _is_integer(self) -> bool:
        return all(isinstance(v, int) for v in (self.low, self.high, self.step))

    def _number(self, value: float) -> int | float:
        return round(value) if self._is_integer else round(float(value), 10)


@dataclass(frozen=True)
class Levels(Choice):
    """Some numbers of a range at uneven distances, as a study file lists them, in ascending order.

    Samplers are asked for one of a few values: no distribution of Optuna's holds numbers at uneven distances.
    """

    values: tuple[int | float, ...]

    def nearest(self, value: Value) -> int | float:
        """Return the number nearest to another, the lower of two at one distance."""
        return self.values[0] if isinstance(value, str) else min(self.values, key=lambda level: abs(level - value))

    def next_to(self, value: Value) -> int | float:
        """Return the other number nearest to a number."""
        others = tuple(level for level in self.values if level != value)
        return replace(self, values=others or self.values).nearest(value)


Knob = Choice | Range


def _check_number(value: object, knob: Range) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SpaceError(f"{value!r} is no number; allowed: {knob}")
    return value
