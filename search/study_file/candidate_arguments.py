"""Reads a candidate of a study from texts such as `mbconv.width=0.5`: a start, with some knobs changed."""

import difflib
from collections.abc import Mapping, Sequence

from paredown.search.errors import ConfigError
from paredown.search.one_network.step_arguments import read_value
from paredown.spaces.candidate import Candidate
from paredown.spaces.conditions import admitting
from paredown.spaces.knob import Choice, Knob, Value
from paredown.spaces.space import FAMILY, SearchSpace

FORM = "KNOB=VALUE"
NEAR = 3
"""Maximum number of knobs that a message about an unknown one suggests."""


def read_candidate(space: SearchSpace, start: Candidate, texts: Sequence[str]) -> Candidate:
    """Return the start with the named knobs changed.

    Args:
        space: The joint space of the study.
        start: Candidate whose knobs hold where none is named; a knob that it does not have is at its lowest.
        texts: `KNOB=VALUE` each, under dotted names.

    Raises:
        ConfigError: A knob does not exist, is named twice or does not count, or a value is not allowed; the message
            says what is allowed.
    """
    knobs: dict[str, Knob] = {FAMILY: Choice(tuple(space.families)), **space.knobs}
    given: dict[str, Value] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise ConfigError(f"{text!r} is not of the form {FORM}, such as {next(iter(space.knobs))}=VALUE")
        if name not in knobs:
            near = difflib.get_close_matches(name, knobs, NEAR, 0.5)
            meant = f"did you mean {' or '.join(near)}?" if near else f"allowed: {', '.join(sorted(knobs))}"
            raise ConfigError(f"{name}: no such knob in the space of this study; {meant}")
        if name in given:
            raise ConfigError(f"{name} is named twice")
        given[name] = read_value(knobs[name], value)
        if given[name] not in knobs[name]:
            raise ConfigError(f"{name}: {given[name]!r} is not allowed; allowed in this study: {knobs[name]}")
    candidate = space.candidate(space.values(start) | given)
    for name, chosen in given.items():
        _check_counts(space, candidate, name, chosen)
    return candidate


def _check_counts(space: SearchSpace, candidate: Candidate, name: str, value: Value) -> None:
    """Refuse a knob that changes nothing together with the others."""
    owner, _, short = name.partition(".")
    if name == FAMILY:
        return
    if owner in space.families and owner != candidate.family:
        raise ConfigError(f"{name}: counts only with {FAMILY}={owner}; this candidate has {FAMILY}={candidate.family}")
    taken: Mapping[str, Value] = candidate.knobs
    if owner in space.steps:
        step = space.steps[owner]
        if owner not in candidate.steps:
            if short != step.switch:
                switch = f"{owner}.{step.switch}"
                raise ConfigError(f"{name}: counts only where {switch} is not {step.off}; this candidate has that")
            return
        taken = candidate.steps[owner]
    if short not in taken:
        condition = space.knobs[name].only_if
        assert condition is not None, "a knob without a condition always counts"
        values = " or ".join(map(str, admitting(condition)))
        raise ConfigError(f"{name}: counts only with {owner}.{condition[0]}={values}")
    if taken[short] != value:
        raise ConfigError(
            f"{name}: {value!r} has no effect together with the other knobs, which make it {taken[short]!r}"
        )
