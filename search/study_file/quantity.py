"""Quantities as people write them: 60k, 2M, 90s, 8h.

pydantic's own types do not serve: ByteSize knows no `Ki`, takes `60m` for 60 million and cuts 0.95 to 0; durations in
pydantic know days and ISO 8601, but neither `8h` nor `90s`.
"""

import math
import re
from collections.abc import Iterable, Mapping

from paredown.search.errors import ConfigError

FACTORS = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
"""Suffixes of a number: decimal k, M and G, binary Ki, Mi and Gi."""
BYTES = FACTORS | {"B": 1} | {f"{prefix}B": factor for prefix, factor in FACTORS.items()}
CLOCK = r"\s*([01]?[0-9]|2[0-3]):[0-5][0-9]\s*"
"""A time of day, as a regular expression."""
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def number(text: str | float) -> float:
    """Return a number that may end in k, M, G, Ki, Mi or Gi.

    Raises:
        ConfigError: It is no number.
    """
    return _scaled(text, FACTORS, "a number such as 2, 0.95, 60k or 1.5M")


def size_bytes(text: str | float) -> float:
    """Return a size in bytes that may end in B, kB, MB, GB, KiB, MiB or GiB, with or without the B.

    Raises:
        ConfigError: It is no size, or negative.
    """
    wanted = "a size such as 500MB or 2GiB, or off"
    value = _scaled(text, BYTES, wanted)
    if value < 0:
        raise ConfigError(f"{text!r} is not {wanted}")
    return value


def seconds(text: str | float) -> float:
    """Return a time in seconds that may end in s, m, h or d.

    Raises:
        ConfigError: It is no time, or not positive.
    """
    value = _scaled(text, SECONDS, "a time such as 90s, 10m or 8h")
    if value <= 0:
        raise ConfigError(f"{text!r} is not a positive time")
    return value


def clock(value: str | int) -> str:
    """Return a time of day as HH:MM.

    YAML reads an unquoted 22:30 as a number of base 60.

    Raises:
        ConfigError: It is no time of day.
    """
    text = f"{value // 60}:{value % 60:02d}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    if not re.fullmatch(CLOCK, text):
        raise ConfigError(f"{value!r} is not a time of day such as 07:00 or 22:30")
    return text.strip().zfill(5)


def pattern(suffixes: Iterable[str]) -> str:
    """Return a regular expression for a number that may end in a suffix."""
    longest_first = "|".join(sorted(suffixes, key=len, reverse=True))
    return rf"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*({longest_first})?\s*$"


def _scaled(text: str | float, factors: Mapping[str, float], wanted: str) -> float:
    digits = str(text).strip()
    factor = 1.0
    for suffix in sorted(factors, key=len, reverse=True):
        if digits.endswith(suffix):
            digits, factor = digits[: -len(suffix)], factors[suffix]
            break
    try:
        value = float(digits) * factor
    except ValueError:
        raise ConfigError(f"{text!r} is not {wanted}") from None
    if isinstance(text, bool) or not math.isfinite(value):
        raise ConfigError(f"{text!r} is not {wanted}")
    return value
