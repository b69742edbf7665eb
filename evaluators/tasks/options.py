"""Options that several tasks have: how images come to one shape, and the range of their values."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationInfo

from paredown.evaluators.errors import TaskError
from paredown.evaluators.tasks.normalisation import EIGHT_BITS, ValueRange
from paredown.evaluators.tasks.resizing import Fit
from paredown.spaces.knob import Range

LEAST_SIDE, STEP = 8, 4
"""Least longer side, and the distance of neighbouring ones, in pixels."""
LEAST_BITS = 12
"""Bits that integers of more than 8 are taken to have at least: those of most cameras and scanners."""
NEW = ("fit", "skip_damaged", "range", "channels")
"""Options that studies of earlier versions do not store; each is stored where it is not at its default."""


def before_fit(data: Any, info: ValidationInfo) -> Any:
    """Return stored options with the reading that they were made with: JSON without `fit` is of before there was one.

    What a study file leaves out, no JSON yet, has the default.
    """
    if info.mode == "json" and isinstance(data, dict) and "fit" not in data:
        return {**data, "fit": "earlier"}
    return data


def stored_options(options: BaseModel, fit: Fit, *, reads_as_earlier: bool) -> Mapping[str, Any]:
    """Return options as a study stores them: `auto` is settled, and what is as earlier versions did is left out.

    Args:
        options: As the study file says.
        fit: What was settled on.
        reads_as_earlier: Whether the data comes out as with `fit: earlier`.
    """
    defaults = {name: field.default for name, field in type(options).model_fields.items()}
    dumped = options.model_dump(mode="json")
    stored = {name: value for name, value in dumped.items() if name not in NEW or value != defaults[name]}
    stored.pop("fit", None)
    if reads_as_earlier or dumped["fit"] == "earlier":
        return stored
    return {**stored, "fit": fit}


def resolutions_of(native: tuple[int, int]) -> Range:
    """Return the longer sides at which images of a native size may be used; the native one is the highest.

    Squares have multiples of 4 from 8 px.
    """
    longer = max(native)
    if native[0] == native[1]:
        return Range(LEAST_SIDE, max(LEAST_SIDE, longer // STEP * STEP), STEP)
    return Range(longer - max(0, longer - LEAST_SIDE) // STEP * STEP, longer, STEP)


def value_range(dtype: str, lowest: float, highest: float, declared: tuple[float, float] | None) -> ValueRange:
    """Return the range of values: what is declared, else what 8 bits hold or what is found.

    Integers of more than 8 bits are taken to have 12 bits, or as many as the highest value needs. Floats from 0 to 1
    have that range, others the one from the lowest to the highest of train.

    Raises:
        TaskError: The declared range is upside down, or values lie outside of it.
    """
    if declared is not None:
        low, high = declared
        if not low < high:
            raise TaskError(f"range: [{low:g}, {high:g}] is upside down; allowed: the lowest value, then the highest")
        if lowest < low or highest > high:
            raise TaskError(
                f"range: [{low:g}, {high:g}] does not hold all values: they go from {lowest:g} to {highest:g}"
            )
        return ValueRange(low, high, dtype)
    if dtype == "uint8":
        return EIGHT_BITS
    if dtype == "uint16":
        return ValueRange(0.0, float(2 ** max(LEAST_BITS, int(highest).bit_length()) - 1), dtype)
    if lowest >= 0 and highest <= 1:
        return ValueRange(0.0, 1.0, dtype)
    return ValueRange(lowest, highest if highest > lowest else lowest + 1, dtype)
