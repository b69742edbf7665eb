"""Conditions between knobs: which of them count, given the values of the others."""

from collections.abc import Mapping

from paredown.spaces.knob import Condition, Knob, Knobs, Value


def active(knobs: Mapping[str, Knob], values: Knobs) -> dict[str, Value]:
    """Return the values of those knobs whose conditions hold.

    Args:
        knobs: The knobs of one family or step, by their short names.
        values: A value for each of them.
    """
    return {name: values[name] for name in knobs if _counts(name, knobs, values)}


def may_count(name: str, knobs: Mapping[str, Knob]) -> bool:
    """Return whether a knob's condition can hold for some values of the others.

    Args:
        name: The knob's short name.
        knobs: The knobs of one family or step, by their short names.
    """
    condition = knobs[name].only_if
    if condition is None:
        return True
    sibling = condition[0]
    return any(value in knobs[sibling] for value in admitting(condition)) and may_count(sibling, knobs)


def admitting(condition: Condition) -> tuple[Value, ...]:
    """Return the sibling's values with which a knob of this condition counts."""
    return condition[1] if isinstance(condition[1], tuple) else (condition[1],)


def _counts(name: str, knobs: Mapping[str, Knob], values: Knobs) -> bool:
    condition = knobs[name].only_if
    if condition is None:
        return True
    sibling = condition[0]
    return values[sibling] in admitting(condition) and _counts(sibling, knobs, values)
