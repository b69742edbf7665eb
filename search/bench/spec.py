"""The spec, which says what the columns of a table of evaluated networks mean."""

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from paredown.search.errors import ConfigError
from paredown.search.study_file.yaml_text import loaded

REFERENCE_FORM = re.compile(r"^(?:([0-9.eE+-]+)\s*[x*]\s*)?(max|min)$")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KnobSpec(_Section):
    """A knob.

    Attributes:
        column: Column of its values; `arch[0]` is the first character or element of each cell. None for the column of
            the knob's name.
        type: Kind of the knob: a choice, or a range of whole or real numbers.
        values: All allowed values, in order; None for those of the table.
        low: Start of a range; None for the smallest value of the table.
        high: End of a range; None for the largest value of the table.
        log: Whether a range is searched on a logarithmic scale.
        optional: Whether a network may lack the knob; its cell is then empty.
    """

    column: str | None = None
    type: Literal["choice", "int", "float"]
    values: list[Any] | None = Field(default=None, min_length=1)
    low: float | None = None
    high: float | None = None
    log: bool = False
    optional: bool = False

    @model_validator(mode="after")
    def _fits(self) -> "KnobSpec":
        if self.type == "choice" and (self.low is not None or self.high is not None or self.log):
            raise ValueError("a choice has no low, high or log; write values")
        if self.values is not None and (self.low is not None or self.high is not None):
            raise ValueError("write values, or low and high, not both")
        return self


class ObjectiveSpec(_Section):
    """An objective.

    Attributes:
        column: Column of the values that the sampler observes; None for the column of the objective's name.
        direction: Whether higher or lower values are better.
        known: Whether samplers may know it before a network is evaluated.
        score: Column that the score counts instead, e.g. the mean of several runs; None for the same column.
        reference: Coordinate of the reference point: a number, or e.g. `1.05 x max` of the table.
    """

    column: str | None = None
    direction: Literal["maximise", "minimise"]
    known: bool = False
    score: str | None = None
    reference: float | str

    @field_validator("direction", mode="before")
    @classmethod
    def _spelling(cls, value: Any) -> Any:
        return {"maximize": "maximise", "minimize": "minimise"}.get(value, value) if isinstance(value, str) else value

    @field_validator("reference")
    @classmethod
    def _reference(cls, value: float | str) -> float | str:
        if isinstance(value, str) and not REFERENCE_FORM.match(value.strip()):
            raise ValueError(f"{value!r} is not allowed; allowed: a number, max, min, or e.g. 1.05 x max")
        return value

    @model_validator(mode="after")
    def _cost(self) -> "ObjectiveSpec":
        if self.known and self.direction == "maximise":
            raise ValueError("what is known before training is a cost: known needs direction minimise")
        if self.known and self.score is not None:
            raise ValueError("what is known before training has one value: known allows no score")
        return self


class KnownSpec(_Section):
    """A column that is known before training and is no objective."""

    column: str | None = None


class BenchSpec(_Section):
    """A spec file.

    Attributes:
        key: Name of the column that holds the keys of a JSON file of the form `{network: {...}, ...}`.
        knobs: The knobs that are searched.
        objectives: The objectives, at least two.
        known: Further columns that are known before training.
    """

    key: str = "key"
    knobs: dict[str, KnobSpec] = Field(min_length=1)
    objectives: dict[str, ObjectiveSpec] = Field(min_length=2)
    known: dict[str, KnownSpec] | None = None

    @model_validator(mode="after")
    def _something_known(self) -> "BenchSpec":
        if self.known is None and not any(o.known for o in self.objectives.values()):
            raise ValueError(
                "nothing is known before training; mark an objective `known: true`, name columns under `known`, "
                "or write `known: {}` where that is so"
            )
        twice = set(self.known or {}) & set(self.objectives)
        if twice:
            raise ValueError(f"{min(twice)!r} is an objective and a known column; mark the objective `known: true`")
        return self


MODELS: dict[str, type[_Section]] = {"knobs": KnobSpec, "objectives": ObjectiveSpec, "known": KnownSpec}


def read_spec(path: Path) -> BenchSpec:
    """Return a checked spec file.

    Raises:
        ConfigError: The file is missing, is no YAML, or contains something that is not allowed; the message names
            file and key.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no text file: {error}") from error
    return checked_spec(loaded(text, str(path), allows_aliases=True), str(path))


def checked_spec(data: Any, where: str) -> BenchSpec:
    """Return a spec from plain data.

    Args:
        data: Content of the YAML file.
        where: Name of the file in messages.

    Raises:
        ConfigError: The data contains something that is not allowed.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: must hold the keys knobs and objectives")
    try:
        return BenchSpec.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(_explained(where, problem) for problem in error.errors())) from None


def _explained(where: str, problem: Any) -> str:
    location = problem["loc"]
    key = ".".join(str(part) for part in location)
    prefix = f"{where}: {key}: " if key else f"{where}: "
    if problem["type"] == "extra_forbidden":
        model = MODELS[str(location[0])] if len(location) > 1 else BenchSpec
        return f"{prefix}no such key; allowed: {', '.join(model.model_fields)}"
    if problem["type"] == "missing":
        return f"{prefix}is missing"
    message = problem["msg"].removeprefix("Value error, ")
    shown = "" if problem["type"] == "value_error" else f" (got {problem['input']!r})"
    return f"{prefix}{message}{shown}"
