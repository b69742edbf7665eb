"""Limits as people write them: 0.95, 60k, baseline - 2 pt, 0.5 x baseline, baseline, none."""

import math
import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from paredown.evaluators.metrics.limit import BaselineLimit
from paredown.evaluators.metrics.measurement import Metric
from paredown.search.errors import ConfigError
from paredown.search.study_file import quantity

NONE = "none"
"""What switches a limit off."""
BASELINE = "baseline"
POINTS = r"baseline\s*([+-])\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*pt"
FACTOR = r"([0-9]+\.?[0-9]*|\.[0-9]+)\s*[x*]\s*baseline"
ALLOWED = (
    "a number such as 0.95, 60k or 1.5M; baseline; baseline - 2 pt (percentage points, of shares such as accuracy); "
    "0.5 x baseline; none"
)
DEFAULT = "baseline - 3 pt"
"""Limit of a new study that names none for its first maximised share, such as accuracy; decision 16 says why."""


def read_limit(written: Any) -> float | BaselineLimit | None:
    """Return a limit: a number, one that follows from the baseline, or None for none.

    Raises:
        ConfigError: It is none of these; the message says what is allowed.
    """
    if written is None:
        return None
    if isinstance(written, str):
        text = written.strip()
        if text == NONE:
            return None
        if text == BASELINE:
            return BaselineLimit()
        if match := re.fullmatch(POINTS, text):
            return BaselineLimit(points=float(match[1] + match[2]))
        if match := re.fullmatch(FACTOR, text):
            return BaselineLimit(factor=float(match[1]))
    try:
        return quantity.number(written)
    except ConfigError:
        raise ConfigError(f"{written!r} is not a limit; allowed: {ALLOWED}") from None


def refusal(limit: float | BaselineLimit, metric: Metric) -> str:
    """Return why a metric cannot have a limit, with what is allowed; an empty text where it can."""
    if not isinstance(limit, BaselineLimit):
        if 0 < limit <= metric.highest:
            return ""
        return f"no candidate can meet {limit:g}; allowed: above 0, at most {metric.highest:g}"
    if limit.points and not metric.is_share:
        return f"'{limit}' is not allowed: points are of shares such as accuracy; allowed: a number, or 0.5 x baseline"
    if not 0 < limit.factor < math.inf or abs(limit.points) >= 100:
        return f"'{limit}' is not allowed; allowed: a factor above 0, or less than 100 pt"
    return ""


def default_limits(metrics: Sequence[Metric]) -> dict[str, str]:
    """Return the limits of a study that names none: one on its first maximised share, where it has one."""
    quality = next((metric for metric in metrics if metric.higher_is_better and metric.is_share), None)
    return {} if quality is None else {quality.name: DEFAULT}


def _as_stored(written: Any) -> float | str:
    try:
        limit = read_limit(written)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return NONE if limit is None else str(limit) if isinstance(limit, BaselineLimit) else limit


WrittenLimit = Annotated[
    float | str,
    BeforeValidator(_as_stored),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number"},
                {"type": "string", "pattern": quantity.pattern(tuple(quantity.FACTORS))},
                {"type": "string", "pattern": rf"^\s*(none|baseline|{POINTS}|{FACTOR})\s*$"},
                {"type": "null"},
            ]
        }
    ),
]
"""A limit in a study file: a number, or its text in the one spelling that is stored."""
