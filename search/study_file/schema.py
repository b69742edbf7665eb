"""The study file: what a user writes, checked."""

import sys
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, ValidationError, ValidationInfo, field_validator, model_validator

from paredown.search.errors import ConfigError
from paredown.search.study_file.limits import WrittenLimit
from paredown.search.study_file.sections import (
    ClockTime,
    DistillationSection,
    Duration,
    HalvingSection,
    MeasureOnSection,
    MemorySize,
    ResourcesSection,
    Section,
    SpaceSection,
    TaskSection,
    TrainingSection,
)
from paredown.search.study_file.yaml_text import loaded

EMPTY_SECTIONS = ("limits", "space", "training", "distillation")
"""Sections that may stand there with nothing in them, such as lines that are comments: their defaults hold."""
SHAPES = {
    "list_type": "must be a list, such as [a, b]",
    "dict_type": "must be a mapping, such as {name: value}",
    "model_type": "must be a mapping, such as {name: value}",
    "string_type": "must be a text",
}
"""What a value must be, by pydantic's name of the error."""
StudyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]


class StudyConfig(Section):
    """A study of Paredown.

    Attributes:
        study: Name of the study; the same name continues it.
        task: The data that is learned.
        model: The user's own network, which is the family `imported`: `package.module:function`, `timm:NAME` or
            `torchvision:NAME`.
        weights: File of the trained weights of `model`.
        objectives: Metrics that span the front; the first one decides in `paredown select`.
        limits: Metric to its worst acceptable value: a number, or what follows from the baseline such as
            `baseline - 2 pt` and `0.5 x baseline`; `none` switches one off.
        device: Device for which models are searched: a name of `paredown device list`, or a TOML file; its memory and
            number formats become limits.
        measure_on: The machine of a Ray cluster that measures latency; null measures where the trial runs.
        space: The part of the joint space that is searched.
        training: How candidates are trained.
        distillation: The teacher of the step `distillation`.
        sampler: Name in the catalogue of samplers, or `package.module:name`.
        seed: Random seed of sampler and training.
        trials: Total number of trials that are trained, in full or in part, before the search ends.
        timeout: Time after which the search ends, in seconds or such as 10m or 8h.
        until: Time of day at which the search ends, such as 07:00; tomorrow where that is past.
        workers: Number of processes; auto starts one for each core.
        driver: Where trials run.
        resources: What is reserved for each trial, by a driver that places trials on machines.
        trial_timeout: Time after which a trial counts as failed, in seconds or such as 1h.
        trial_memory: Memory of a worker process above which its trial fails, such as 4GB; null for an equal share of
            the machine's memory.
        max_failures: Number of failed trials in a row that ends the search.
        patience_trials: Number of finished trials in a row without gain of hypervolume that ends the search.
        halving: How trials are stopped early; null lets every trial run to its end.
        local_search_trials: Number of trials at the end that are local search around the front.
        warm_start: Names of earlier studies in the same database; their best networks are asked first, and
            `cost_aware` learns from all of them.
        report_every: Time after which the report is written anew while the search runs, in seconds or such as 10m; null
            writes it at the end alone.
        on_finish: Shell command to run when the search has ended by itself, or the address of a service that is told,
            `scheme://...`, as apprise knows them.
        on_failure: The same for a search that was aborted or broke.
    """

    study: StudyName
    task: TaskSection
    model: str | None = None
    weights: str | None = None
    objectives: list[str] = Field(min_length=2)
    limits: dict[str, WrittenLimit] = Field(default_factory=dict)
    device: str | None = None
    measure_on: MeasureOnSection | None = None
    space: SpaceSection = SpaceSection()
    training: TrainingSection = TrainingSection()
    distillation: DistillationSection = DistillationSection()
    sampler: str = "cost_aware"
    seed: int = Field(default=0, ge=0, lt=2**31)
    trials: int = Field(default=40, ge=1)
    timeout: Duration | None = None
    until: ClockTime | None = None
    workers: int | Literal["auto"] = "auto"
    driver: str = "local"
    resources: ResourcesSection | None = None
    trial_timeout: Duration = 3600
    trial_memory: MemorySize | None = None
    max_failures: int = Field(default=10, ge=1)
    patience_trials: int | None = Field(
        default=None, ge=1, validation_alias=AliasChoices("patience_trials", "max_stall")
    )
    halving: HalvingSection | None = None
    local_search_trials: int = Field(default=0, ge=0, validation_alias=AliasChoices("local_search_trials", "polish"))
    warm_start: list[StudyName] = Field(default_factory=list)
    report_every: Duration | None = None
    on_finish: str | None = None
    on_failure: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _imported(cls, data: Any) -> Any:
        """Make the user's network the only family, trained where it has weights, unless the file says otherwise."""
        if not isinstance(data, dict):
            return data
        data = {key: value for key, value in data.items() if value is not None or key not in EMPTY_SECTIONS}
        sections: dict[str, dict[str, Any]] = {"space": {"families": ["imported"]}} if data.get("model") else {}
        sections |= {"training": {"epochs": 0}} if data.get("weights") else {}
        for key, defaults in sections.items():
            if isinstance(given := data.get(key) or {}, dict):
                data = data | {key: defaults | given}
        return data

    @field_validator("limits", mode="before")
    @classmethod
    def _limits(cls, value: Any) -> Any:
        if isinstance(value, dict) and (odd := [key for key in value if not str(key)[:1].isalpha()]):
            raise ValueError(
                f"{odd[0]!r} is no metric: within {{...}}, a comma begins the next limit; write 60000 or 60k, and 0.5 "
                "with a point"
            )
        return value

    @field_validator("task", mode="before")
    @classmethod
    def _task(cls, value: Any) -> Any:
        """Accept `digits`, `image_folder:PATH` as on the command line, and `image_folder: {path: ...}`."""
        if isinstance(value, str):
            name, _, option = value.partition(":")
            return {"name": name, "shorthand": option} if option else {"name": name}
        if isinstance(value, dict) and len(value) == 1 and "name" not in value:
            name, options = next(iter(value.items()))
            if isinstance(options, dict):
                return {"name": name, "options": options}
            return {"name": name, "shorthand": options}
        return value

    @field_validator("local_search_trials")
    @classmethod
    def _local_search(cls, value: int, info: ValidationInfo) -> int:
        trials = info.data.get("trials", value + 1)
        if value >= trials:
            raise ValueError(f"{value} is not allowed; allowed: 0 to {trials - 1}, below trials")
        return value

    @field_validator("warm_start")
    @classmethod
    def _warm_start(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if (own := info.data.get("study")) in value:
            raise ValueError(f"{own!r} is this study itself; allowed: names of other studies")
        if twice := next((name for name in value if value.count(name) > 1), ""):
            raise ValueError(f"{twice!r} is named twice; allowed: each study once")
        return value

    @field_validator("workers")
    @classmethod
    def _workers(cls, value: int | str) -> int | str:
        if isinstance(value, int) and not 1 <= value <= 256:
            raise ValueError(f"{value} is not allowed; allowed: 1 to 256, or auto")
        return value


SECTIONS: dict[str, type[Section]] = {
    "space": SpaceSection,
    "training": TrainingSection,
    "distillation": DistillationSection,
    "halving": HalvingSection,
    "resources": ResourcesSection,
    "measure_on": MeasureOnSection,
}


def read_config(path: Path | None, overrides: dict[str, Any]) -> StudyConfig:
    """Return a checked study file; without a path the default one.

    Args:
        path: A YAML file.
        overrides: Top-level keys given on the command line.

    Raises:
        ConfigError: The file is missing, is no YAML, or says something that is not allowed; the message
            names file and key.
    """
    where = str(path) if path else "default study"
    file = path or resources.files("paredown.search.study_file") / "default.yaml"
    try:
        text = file.read_text()
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: is no text file: {error}") from error
    data = loaded(text, where, allows_aliases=True)
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: must hold keys such as study, task and objectives")
    return checked_config(data, where, {key: value for key, value in overrides.items() if value is not None})


def checked_config(data: dict[str, Any], where: str, given: dict[str, Any]) -> StudyConfig:
    """Return the checked configuration; a remark on standard error names each key that has another name today.

    Args:
        data: What a study file holds.
        where: How messages name it.
        given: Top-level keys given on the command line, in place of the file's.

    Raises:
        ConfigError: It says something that is not allowed; the message names the key.
    """
    try:
        config = StudyConfig.model_validate(data | given)
    except ValidationError as error:
        lines = [_explained(where, problem, given) for problem in error.errors()]
        raise ConfigError("\n".join(lines)) from None
    for earlier, today in config.renamed().items():
        sys.stderr.write(f"{where}: {earlier} is called {today} today; the earlier name still works\n")
    return config


def _explained(where: str, problem: Any, given: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["loc"] and problem["loc"][0] in given:
        where = "command line"
    message = SHAPES.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    if problem["type"] == "extra_forbidden":
        section = SECTIONS.get(str(problem["loc"][0]), StudyConfig)
        if today := section.earlier_names().get(str(problem["loc"][-1])):
            return f"{where}: {key}: is the earlier name of {today}, which is given too; give {today} alone"
        return f"{where}: {key}: no such key; allowed: {', '.join(section.model_fields)}"
    shown = "" if problem["type"] in {"missing", "value_error"} else f" (got {problem['input']!r})"
    return f"{where}: {key}: {message}{shown}"
