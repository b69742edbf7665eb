"""The joint space: families times compression steps."""

import functools
import itertools
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.step import Settle, Step
from paredown.spaces.conditions import active, admitting, may_count
from paredown.spaces.errors import BaselineRefused, SpaceError
from paredown.spaces.families.family import Family
from paredown.spaces.knob import Choice, Knob, Knobs, Range, Suggester, Value

FAMILY = "family"
"""Name of the knob that picks the family, asked only where there are several."""


@dataclass(frozen=True)
class SearchSpace:
    """Every candidate that a study may try.

    All knobs are asked of the sampler every time, also those of families and steps that turn out
    inactive: most samplers model only knobs that are always there. The candidate names active ones only.

    Attributes:
        families: The architecture families.
        steps: The compression steps, in order of application.
        knobs: Every knob under its dotted name, `<family or step>.<knob>`.
        baseline: The reference: the first family's own, or its largest network; uncompressed.
    """

    families: Mapping[str, Family]
    steps: Mapping[str, Step]
    knobs: Mapping[str, Knob]
    baseline: Candidate
    skip: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()

    def sample(self, trial: Suggester) -> Candidate:
        """Ask the sampler for every knob that leaves a choice and return the candidate."""
        return self.candidate(self._suggested(trial))

    def draw(self, seed: int, family: str | None = None) -> Candidate:
        """Return a candidate whose knobs are drawn independently and uniformly, of a family where one is named."""
        named = {} if family is None else {FAMILY: family}
        return self.candidate(self._suggested(_Dice(random.Random(seed))) | named)

    def candidate(self, values: Knobs) -> Candidate:
        """Return the candidate that values of knobs describe, without what is inactive; a missing one is its lowest."""
        values = self._lowest | dict(values)
        family = str(values.get(FAMILY, next(iter(self.families))))
        steps = {}
        for name, step in self.steps.items():
            if values[f"{name}.{step.switch}"] != step.off:
                steps[name] = _active(self._own[name], name, values, step.settle)
        skip, keep = (self.skip, self.keep) if steps else ((), ())
        return Candidate(family, _active(self._own[family], family, values), steps, skip, keep)

    def values(self, candidate: Candidate) -> dict[str, Value]:
        """Return a value for every knob that leaves a choice: the candidate's, the lowest where inactive.

        A value that is not allowed becomes the nearest one that is.
        """
        named = {f"{candidate.family}.{k}": v for k, v in candidate.knobs.items()} | {FAMILY: candidate.family}
        for name, step in self.steps.items():
            knobs = candidate.steps.get(name, {step.switch: step.off})
            named |= {f"{name}.{k}": v for k, v in knobs.items()}
        return {n: knob.nearest(named.get(n, knob.lowest)) for n, knob in self._open.items()}

    def smallest(self) -> list[Candidate]:
        """Return candidates with the least of everything and every step at its strongest.

        There is one for each family and each value of a knob on which others depend.
        """
        values = {name: knob.lowest for name, knob in self._asked().items()}
        for name, step in self.steps.items():
            switch = self.knobs[f"{name}.{step.switch}"]
            if switch.lowest == step.off:
                values[f"{name}.{step.switch}"] = switch.highest
        deciding: dict[str, tuple[Value, ...]] = {FAMILY: tuple(self.families)}
        for name, knob in self.knobs.items():
            if knob.only_if is not None and not knob.is_fixed:
                parent = f"{name.partition('.')[0]}.{knob.only_if[0]}"
                if isinstance(chosen := self.knobs[parent], Choice):
                    deciding[parent] = chosen.values
        combinations = itertools.product(*deciding.values())
        candidates = [self.candidate(values | dict(zip(deciding, c, strict=True))) for c in combinations]
        return list({c.digest: c for c in candidates}.values())

    def mildest(self) -> Candidate:
        """Return the baseline with every step at its mildest: a network that is known to be good.

        Steps that only teach stay off: they cost a training of the largest network and compress nothing.
        """
        values = self.values(self.baseline)
        for name, step in self.steps.items():
            knob = self.knobs[f"{name}.{step.switch}"]
            if not knob.is_fixed and not step.only_teaches:
                values[f"{name}.{step.switch}"] = knob.next_to(step.off)
        return self.candidate(values)

    def describe(self) -> dict[str, str]:
        """Return a line for each knob, for reports and to compare two spaces."""
        return {name: str(knob) for name, knob in self._asked().items()}

    @property
    def size(self) -> int:
        """How many combinations of knob values there are, inactive ones counted too."""
        return math.prod(knob.count for knob in self._asked().values())

    def _suggested(self, trial: Suggester) -> dict[str, Value]:
        return {n: k.suggest(trial, n) for n, k in self._open.items()}

    @functools.cached_property
    def _lowest(self) -> dict[str, Value]:
        return {n: knob.lowest for n, knob in self._asked().items()}

    @functools.cached_property
    def _open(self) -> dict[str, Knob]:
        """The knobs that leave a choice."""
        return {n: knob for n, knob in self._asked().items() if not knob.is_fixed}

    @functools.cached_property
    def _own(self) -> dict[str, dict[str, Knob]]:
        """The knobs of each family and step, under their short names."""
        return {owner: _owned(self.knobs, owner) for owner in (*self.families, *self.steps)}

    def _asked(self) -> dict[str, Knob]:
        family = {FAMILY: Choice(tuple(self.families))} if len(self.families) > 1 else {}
        return family | dict(self.knobs)


class _Dice:
    """A sampler without memory."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def suggest_categorical(self, name: str, choices: tuple[Value, ...]) -> Value:
        return self._rng.choice(choices)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        return self._rng.randrange(low, high + 1, step)

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None = None) -> float:
        width = step or (high - low)
        return low + width * self._rng.randint(0, round((high - low) / width))


def joint_space(
    families: Mapping[str, Family],
    steps: Mapping[str, Step],
    resolutions: Range,
    overrides: Mapping[str, object],
    baseline: Mapping[str, Value],
) -> SearchSpace:
    """Return the space of the families and steps, narrowed to what a study file asks for.

    Args:
        families: The architecture families, the first one being the baseline's.
        steps: The compression steps, in order of application.
        resolutions: Input sides that the task allows, in pixels.
        overrides: Knob name to a value (fixed), a list or `{low, high, step}` (narrowed), or None
            (dropped: a step is off, another knob takes its lowest value). A knob that counts for no value that
            is left of the others is not asked.
        baseline: Knob name of the first family to its value in the reference network.

    Raises:
        SpaceError: A knob does not exist, or a value is outside its range; the message begins with the
            knob's name.
        BaselineRefused: The same of the baseline, or one of its knobs does not count.
    """
    allowed: dict[str, Knob] = {}
    for family in families.values():
        allowed |= {f"{family.name}.{k}": knob for k, knob in family.knobs(resolutions).items()}
    for step in steps.values():
        allowed |= {f"{step.name}.{k}": knob for k, knob in step.knobs.items()}
    off = {f"{step.name}.{step.switch}": step.off for step in steps.values()}
    knobs = dict(allowed)
    for name, spec in overrides.items():
        knob = _known(allowed, name)
        try:
            knobs[name] = knob.narrowed(off.get(name, knob.lowest) if spec is None else spec)
        except SpaceError as error:
            raise SpaceError(f"{name}: {error}") from None
    first = next(iter(families.values()))
    reference = _baseline(first, allowed, knobs, first.baseline(resolutions), baseline)
    for owner in (*families, *steps):
        knobs |= _idle(knobs, owner, off)
    return SearchSpace(families, steps, knobs, reference)


def _owned(knobs: Mapping[str, Knob], owner: str) -> dict[str, Knob]:
    """Return the knobs of a family or step, under their short names."""
    return {name.removeprefix(f"{owner}."): knob for name, knob in knobs.items() if name.startswith(f"{owner}.")}


def _idle(knobs: Mapping[str, Knob], owner: str, off: Mapping[str, Value]) -> dict[str, Knob]:
    """Return the knobs of a family or step that never count in this space, each fixed to its lowest value."""
    own = _owned(knobs, owner)
    stays_off = any(n.startswith(f"{owner}.") and knobs[n].is_fixed and value in knobs[n] for n, value in off.items())
    idle = [short for short in own if stays_off or not may_count(short, own)]
    return {f"{owner}.{short}": own[short].narrowed(own[short].lowest) for short in idle}


def _baseline(
    family: Family,
    allowed: Mapping[str, Knob],
    knobs: Mapping[str, Knob],
    usual: Knobs,
    wanted: Mapping[str, Value],
) -> Candidate:
    """Return what the user names, and for the rest the family's reference or the largest that is left."""
    own_knobs = {n: knob for n, knob in allowed.items() if n.startswith(f"{family.name}.")}
    for name, value in wanted.items():
        if name not in own_knobs:
            raise BaselineRefused(f"{name}: no such knob; allowed: {', '.join(sorted(own_knobs))}")
        if value not in own_knobs[name]:
            raise BaselineRefused(f"{name}: {value!r} is not allowed; allowed: {allowed[name]}")
    values: dict[str, Value] = {}
    for name, knob in knobs.items():
        owner, _, short = name.partition(".")
        if owner == family.name:
            named = name in wanted  # one number has one digest: 2 in a study file is 2.0 of a range of floats
            own = usual.get(short, knob.highest)
            values[name] = allowed[name].nearest(wanted[name]) if named else knob.nearest(own)
    baseline = Candidate(family.name, _active(_owned(knobs, family.name), family.name, values))
    for name in wanted:
        if name.partition(".")[2] not in baseline.knobs:
            condition = allowed[name].only_if
            assert condition is not None, "a knob without a condition always counts"
            parent = f"{family.name}.{condition[0]}"
            counts = " or ".join(str(value) for value in admitting(condition))
            raise BaselineRefused(f"{name}: counts only with {parent}: {counts}; the baseline has {values[parent]}")
    return baseline


def _known(knobs: Mapping[str, Knob], name: str) -> Knob:
    if name not in knobs:
        raise SpaceError(f"{name}: no such knob; allowed: {', '.join(sorted(knobs))}")
    return knobs[name]


def _active(
    own: Mapping[str, Knob], prefix: str, values: Knobs, settle: Settle = lambda knobs, values: values
) -> dict[str, Value]:
    """Return the values of a family's or step's active knobs, under their short names."""
    return active(own, settle(own, {short: values[f"{prefix}.{short}"] for short in own}))
