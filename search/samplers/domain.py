"""The knobs as a sampler sees them: it draws them, changes one at a time, and encodes them as numbers."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from paredown.search.samplers.sampler import Params

MAX_LEVELS = 1000
"""Maximum number of values of a knob that is enumerated; a knob with more of them is treated as continuous."""
REACH = 0.1
"""Standard deviation of the step from a continuous value to a neighbour, as a share of the range."""

Numeric = FloatDistribution | IntDistribution


class KnobDomain:
    """The set of knobs that a sampler chooses.

    Attributes:
        names: Names of the knobs, in order of the encoding.
        columns: Number of columns of the encoding.
    """

    def __init__(
        self, distributions: Mapping[str, BaseDistribution], canonical: Callable[[Params], Params] = dict
    ) -> None:
        self._knobs = {name: d for name, d in distributions.items() if not d.single()}
        self._canonical = canonical
        self._levels = {name: _levels(d) for name, d in self._knobs.items()}
        self.names = tuple(self._knobs)
        self._widths = {name: _width(d) for name, d in self._knobs.items()}
        self.columns = sum(self._widths.values())

    def levels(self, name: str, limit: int = MAX_LEVELS) -> list[Any]:
        """Return the values of a knob in order; at most `limit` evenly spread ones for a longer or continuous knob."""
        levels = self._levels[name]
        if levels is None:
            knob = cast(FloatDistribution, self._knobs[name])
            return [_at(knob, share) for share in np.linspace(0, 1, min(limit, 33))]
        if len(levels) > limit:
            return [levels[i] for i in np.linspace(0, len(levels) - 1, limit).round().astype(int)]
        return levels

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """Return knobs drawn independently and uniformly."""
        return {name: self._drawn(name, rng) for name in self.names}

    def mutated(self, params: Params, rng: np.random.Generator) -> dict[str, Any]:
        """Return the knobs with one of them changed."""
        return self.changed(params, self.names[rng.integers(len(self.names))], rng)

    def redrawn(self, params: Params, rng: np.random.Generator, name: str | None = None) -> dict[str, Any]:
        """Return the knobs with one of them drawn anew from its whole range; 20 draws look for another value.

        Args:
            params: Value of each knob.
            rng: Random generator of every draw.
            name: The knob; None for a random one.
        """
        name = self.names[rng.integers(len(self.names))] if name is None else name
        values = self.completed(params, rng)
        drawn = (self._drawn(name, rng) for _ in range(20))
        return {**values, name: next((value for value in drawn if value != values[name]), values[name])}

    def changed(self, params: Params, name: str, rng: np.random.Generator) -> dict[str, Any]:
        """Return the knobs with the named one changed: to any other choice, or by up to two steps along a range."""
        values = self.completed(params, rng)
        values[name] = _pick([other[name] for other in self._others(values, name, rng)], rng)
        return values

    def neighbours(self, params: Params, rng: np.random.Generator) -> list[dict[str, Any]]:
        """Return all networks that differ in one knob: by any other choice, or by up to two steps along a range."""
        values = self.completed(params, rng)
        return [other for name in self.names for other in self._others(values, name, rng)]

    def crossed(self, first: Params, second: Params, rng: np.random.Generator) -> dict[str, Any]:
        """Return knobs taken from two parents at random."""
        a, b = self.completed(first, rng), self.completed(second, rng)
        return {name: (a if rng.random() < 0.5 else b)[name] for name in self.names}

    def completed(self, params: Params, rng: np.random.Generator) -> dict[str, Any]:
        """Return a value for each knob: the given one, or a random one where it is missing or outside the range."""
        return {
            name: params[name] if name in params and self._holds(name, params[name]) else self._drawn(name, rng)
            for name in self.names
        }

    def key(self, params: Params) -> tuple[Any, ...]:
        """Return a key that is equal for all descriptions of one network."""
        canonical = self._canonical(params)
        return tuple(canonical.get(name) for name in self.names)

    def encode(self, params: Sequence[Params]) -> NDArray[np.float64]:
        """Return `n x columns`: ranges scaled to 0 .. 1, choices as indicators, two-valued choices in one column.

        A knob that a network does not have is encoded as the middle of its range, or with no indicator set.
        """
        networks = [self._canonical(one) for one in params]
        columns = [self._encoded(name, [one.get(name) for one in networks]) for name in self.names]
        return np.hstack([np.empty((len(params), 0)), *columns])

    def groups(self) -> list[int]:
        """Return for each column of the encoding the index of its knob."""
        return [i for i, name in enumerate(self.names) for _ in range(self._widths[name])]

    def _encoded(self, name: str, values: Sequence[Any]) -> NDArray[np.float64]:
        knob = self._knobs[name]
        if not isinstance(knob, CategoricalDistribution):
            return np.array([0.5 if v is None else _share(cast(Numeric, knob), v) for v in values])[:, None]
        indices = [_index(knob, v) for v in values]
        if len(knob.choices) == 2:
            return np.array([0.5 if i is None else float(i) for i in indices])[:, None]
        indicators = np.vstack([np.eye(len(knob.choices)), np.zeros(len(knob.choices))])
        return indicators[[-1 if i is None else i for i in indices]]

    def _holds(self, name: str, value: Any) -> bool:
        knob = self._knobs[name]
        try:
            return knob._contains(knob.to_internal_repr(value))
        except ValueError:
            return False

    def _drawn(self, name: str, rng: np.random.Generator) -> Any:
        levels = self._levels[name]
        return _at(cast(FloatDistribution, self._knobs[name]), rng.random()) if levels is None else _pick(levels, rng)

    def _others(self, values: Params, name: str, rng: np.random.Generator) -> list[dict[str, Any]]:
        knob, levels = self._knobs[name], self._levels[name]
        if levels is None:
            share = _share(cast(Numeric, knob), values[name])
            moved = np.clip(share + rng.normal(0, REACH, 4), 0, 1)
            others = [_at(cast(FloatDistribution, knob), float(s)) for s in moved]
        elif isinstance(knob, CategoricalDistribution):
            at = _index(knob, values[name])
            others = [level for i, level in enumerate(levels) if i != at]
        else:
            at = min(range(len(levels)), key=lambda i: abs(levels[i] - values[name]))
            others = [levels[i] for i in (at - 2, at - 1, at + 1, at + 2) if 0 <= i < len(levels)]
        return [{**values, name: other} for other in others]


def _width(knob: BaseDistribution) -> int:
    return len(knob.choices) if isinstance(knob, CategoricalDistribution) and len(knob.choices) > 2 else 1


def _pick(values: Sequence[Any], rng: np.random.Generator) -> Any:
    return values[int(rng.integers(len(values)))]


def _index(knob: CategoricalDistribution, value: Any) -> int | None:
    try:
        return int(knob.to_internal_repr(value))
    except ValueError:
        return None


def _levels(knob: BaseDistribution) -> list[Any] | None:
    """Return every value of a knob; None where there are too many."""
    if isinstance(knob, CategoricalDistribution):
        return list(knob.choices)
    if isinstance(knob, IntDistribution):
        count = (knob.high - knob.low) // knob.step + 1
        return None if count > MAX_LEVELS else [knob.low + i * knob.step for i in range(count)]
    assert isinstance(knob, FloatDistribution)
    if knob.step is None:
        return None
    count = round((knob.high - knob.low) / knob.step) + 1
    return None if count > MAX_LEVELS else [round(knob.low + i * knob.step, 10) for i in range(count)]


def _at(knob: Numeric, share: float) -> float | int:
    """Return the value at a share of a range."""
    low, high = float(knob.low), float(knob.high)
    value = math.exp(math.log(low) + share * math.log(high / low)) if knob.log else low + share * (high - low)
    if isinstance(knob, IntDistribution):
        return min(max(knob.low + round((value - low) / knob.step) * knob.step, knob.low), knob.high)
    if knob.step is not None:
        value = round(low + round((value - low) / knob.step) * knob.step, 10)
    return min(max(float(value), low), high)


def _share(knob: Numeric, value: float) -> float:
    """Return where a value stands in a range, 0 to 1."""
    low, high, at = float(knob.low), float(knob.high), float(value)
    if knob.log:
        low, high, at = math.log(low), math.log(high), math.log(max(at, 1e-300))
    return min(max((at - low) / (high - low), 0.0), 1.0)
