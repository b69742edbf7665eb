"""Candidates as pages write and read them: in words, and as knobs with their values, a line each."""

from collections.abc import Mapping
from typing import Any

from paredown.search.errors import ConfigError
from paredown.spaces.candidate import Candidate


def in_words(stored: Mapping[str, Any]) -> str:
    """Return a stored candidate in words."""
    return str(Candidate.from_json(stored))


def dotted_knobs(candidate: Candidate) -> dict[str, Any]:
    """Return the knobs of a candidate under their dotted names, its family first."""
    found = {"family": candidate.family} | {f"{candidate.family}.{knob}": v for knob, v in candidate.knobs.items()}
    return found | {f"{step}.{knob}": v for step, knobs in candidate.steps.items() for knob, v in knobs.items()}


def knob_lines(candidate: Candidate) -> str:
    """Return the knobs of a candidate as lines that `read_knobs` reads."""
    return "\n".join(f"{name}={value}" for name, value in dotted_knobs(candidate).items())


def read_knobs(text: str) -> dict[str, str]:
    """Return the values in lines of `KNOB=VALUE`, by the names of the knobs.

    Raises:
        ConfigError: A line is none, or names a knob again.
    """
    found: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, sign, value = (part.strip() for part in line.partition("="))
        if not (name and sign and value):
            raise ConfigError(f"{line!r} is not of the form KNOB=VALUE, such as mbconv.width=0.5")
        if name in found:
            raise ConfigError(f"{name} is named twice")
        found[name] = value
    return found
