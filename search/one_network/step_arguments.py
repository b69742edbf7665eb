"""Parses compression steps from their textual form: `channel_pruning:ratio=0.5`."""

from collections.abc import Mapping, Sequence

from paredown.search.errors import ConfigError
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.knob import Choice, Condition, Knob, Knobs, Value
from paredown.spaces.space import SearchSpace

FORM = "NAME:KNOB=VALUE[,KNOB=VALUE...]"


def read_steps(texts: Sequence[str]) -> dict[str, dict[str, Value]]:
    """Parse and check the knobs of each step.

    Raises:
        ConfigError: A step, knob or value does not exist, or a step or knob is named twice; the message says what is
            allowed.
    """
    steps: dict[str, dict[str, Value]] = {}
    for text in texts:
        name, _, rest = text.partition(":")
        where = f"step {text}"
        knobs = _knobs_of(name, where)
        if name in steps:
            raise ConfigError(f"{where}: {name} is named twice; write all its knobs at once: {FORM}")
        steps[name] = {}
        for part in _parts(rest, knobs):
            knob, sign, value = part.partition("=")
            if not sign:
                raise ConfigError(f"{where}: {part!r} is not of the form KNOB=VALUE; knobs: {_listed(knobs)}")
            if knob in steps[name]:
                raise ConfigError(f"{where}: {knob} is named twice")
            steps[name][knob] = read_value(knobs[knob], value) if knob in knobs else value
    check_steps(steps)
    return steps


def check_steps(steps: Mapping[str, Knobs]) -> None:
    """Refuse steps, knobs and values that do not exist.

    Numbers between the grid points of a range are allowed, although a search tries only the grid points.

    Raises:
        ConfigError: A step, knob or value does not exist; the message says what is allowed.
    """
    for name, given in steps.items():
        where, switch = f"step {name}", STEPS[name].switch if name in STEPS else ""
        knobs = _knobs_of(name, where)
        for knob, value in given.items():
            if knob not in knobs:
                raise ConfigError(f"{where}: {knob!r} is no knob; knobs: {_listed(knobs)}")
            if not knobs[knob].takes(value):
                raise ConfigError(f"{where}: {knob}: {value!r} is not allowed; allowed: {knobs[knob].taken}")
        if switch not in given:
            raise ConfigError(f"{where}: needs {switch}; allowed: {knobs[switch].taken}; form: {FORM}")


def compressed(space: SearchSpace, steps: Mapping[str, Knobs]) -> Candidate:
    """Return the space's baseline with steps; knobs that are not named take their lowest value.

    Args:
        space: The space; it holds the steps.
        steps: Checked knobs of each step.

    Raises:
        ConfigError: A knob has no effect together with the others.
    """
    values = {f"{name}.{step.switch}": step.off for name, step in STEPS.items()}
    values |= {f"{name}.{knob}": value for name, knobs in steps.items() for knob, value in knobs.items()}
    taken = space.candidate(values).steps
    for name, knobs in steps.items():
        for knob, value in knobs.items():
            if name in taken and knob not in taken[name]:
                sibling = STEPS[name].knobs[knob].only_if
                only = f": only with {_said(sibling)}" if sibling else ""
                raise ConfigError(f"step {name}: {knob}={value} has no effect here{only}")
    # The given values stay, even where a search would normalize them: the step itself reports what is wrong.
    given = {name: {**values, **steps[name]} for name, values in taken.items()}
    skip, keep = (space.skip, space.keep) if given else ((), ())
    return Candidate(space.baseline.family, space.baseline.knobs, given, skip, keep)


def _parts(rest: str, knobs: Mapping[str, Knob]) -> list[str]:
    """Return each `KNOB=VALUE`; the value of a text knob may contain commas."""
    parts: list[str] = []
    for piece in rest.split(",") if rest else []:
        knob = knobs.get(parts[-1].partition("=")[0]) if parts else None
        if "=" not in piece and isinstance(knob, Choice) and knob.open:
            parts[-1] += f",{piece}"
        else:
            parts.append(piece)
    return parts


def _said(condition: Condition) -> str:
    sibling, wanted = condition
    values = wanted if isinstance(wanted, tuple) else (wanted,)
    return f"{sibling}={' or '.join(map(str, values))}"


def _knobs_of(name: str, where: str) -> Mapping[str, Knob]:
    if name not in STEPS:
        raise ConfigError(f"{where}: {name!r} does not exist; allowed: {', '.join(STEPS)}; form: {FORM}")
    return STEPS[name].knobs


def _listed(knobs: Mapping[str, Knob]) -> str:
    return ", ".join(f"{name} ({knob.taken})" for name, knob in knobs.items())


def read_value(knob: Knob, text: str) -> Value:
    """Return the value that a text names, or the text itself where it names none."""
    if isinstance(knob, Choice):
        return next((value for value in knob.values if str(value).lower() == text.strip().lower()), text)
    try:
        number = float(text)
    except ValueError:
        return text
    is_whole = isinstance(knob.lowest, int) and number.is_integer()
    return int(number) if is_whole else number
