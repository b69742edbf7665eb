"""The study file: what a user writes, checked."""

from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from paredown.search.errors import ConfigError
from paredown.search.study_file import quantity

BASELINE = "baseline"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskSection(_Section):
    """Which data; options are checked by the task itself."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    shorthand: Any = None


class SpaceSection(_Section):
    """Which part of the joint space.

    Attributes:
        families: Names of architecture families; the first one is the baseline's.
        steps: Names of compression steps; their order is the catalogue's.
        knobs: Knob to a value, a list, `{low, high, step}` or null.
        baseline: Knob to its value in the reference network.
    """

    families: list[str] = Field(default=["mbconv"], min_length=1)
    steps: list[str] = Field(default_factory=list)
    knobs: dict[str, Any] = Field(default_factory=dict)
    baseline: dict[str, Any] = Field(default_factory=dict)


class TrainingSection(_Section):
    """How each candidate is trained; see `paredown.evaluators.training.fit.TrainingPlan`."""

    epochs: int = Field(default=20, ge=0)
    finetune_epochs: int = Field(default=8, ge=0)
    batch_size: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=4e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    patience: int = Field(default=6, ge=1)
    max_seconds: float = Field(default=600, gt=0)
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "tf32", "fp16", "bf16"] = "fp32"
    mode: Literal["scratch", "inherit"] = "scratch"
    supernet_epochs: int = Field(default=60, ge=1)
    inherit_epochs: int = Field(default=2, ge=0)
    cache: float = 2e9

    @field_validator("cache", mode="before")
    @classmethod
    def _cache(cls, value: Any) -> Any:
        """Accept a size such as 500MB, and `off`, which YAML reads as false."""
        return 0.0 if value in (False, "off") else _checked(quantity.size_bytes, value, "")


class DistillationSection(_Section):
    """Whom the step `distillation` learns from; see `paredown.evaluators.training.teacher.TeacherSpec`.

    Attributes:
        teacher: `baseline`, the reference network of the study, or `package.module:function`.
        weights: File of the trained weights of such a network.
        resolution: Side of its input, in pixels; without it that of each student.
    """

    teacher: str = BASELINE
    weights: str | None = None
    resolution: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _named(self) -> "DistillationSection":
        for key in ("weights", "resolution"):
            if self.teacher == BASELINE and getattr(self, key) is not None:
                raise ValueError(f"{key} is of a network of yours; name it by teacher: package.module:function")
        return self


class HalvingSection(_Section):
    """How running trials are judged; see `paredown.search.schedulers.halving.Halving`.

    Attributes:
        first: Finished epochs at the first rung.
        factor: One of so many trials goes on at a rung; rungs are so many times apart.
        brackets: So many series of rungs, each beginning one rung later than the one before.
    """

    first: int = Field(ge=1)
    factor: int = Field(default=2, ge=2)
    brackets: int = Field(default=1, ge=1)


class StudyConfig(_Section):
    """A study file.

    Attributes:
        study: Name of the study.
        task: Which data.
        model: `package.module:function` of the user's network, `timm:NAME`, `torchvision:NAME`; the family `imported`.
        weights: File of its trained weights.
        objectives: Metrics that span the front.
        limits: Metric to its worst acceptable value.
        space: Which part of the joint space.
        training: How candidates are trained.
        distillation: Whom the step `distillation` learns from.
        sampler: Name in the catalogue of samplers, or `package.module:name`.
        seed: Of sampler and training.
        trials: Stop when the study has so many finished trials.
        timeout: Stop after so many seconds.
        workers: Processes; "auto" is one a core.
        driver: Where trials run.
        trial_timeout: A trial that runs longer fails.
        max_failures: Stop after so many failures in a row.
        max_stall: Stop after so many finished trials in a row without gain of hypervolume.
        halving: Stops trials early; None lets all run to their end.
        polish: So many of the last trials are local search around the front.
    """

    study: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")
    task: TaskSection
    model: str | None = None
    weights: str | None = None
    objectives: list[str] = Field(min_length=2)
    limits: dict[str, float] = Field(default_factory=dict)
    space: SpaceSection = SpaceSection()
    training: TrainingSection = TrainingSection()
    distillation: DistillationSection = DistillationSection()
    sampler: str = "cost_aware"
    seed: int = Field(default=0, ge=0, lt=2**31)
    trials: int = Field(default=40, ge=1)
    timeout: float | None = None
    workers: int | Literal["auto"] = "auto"
    driver: str = "local"
    trial_timeout: float = 3600
    max_failures: int = Field(default=10, ge=1)
    max_stall: int | None = Field(default=None, ge=1)
    halving: HalvingSection | None = None
    polish: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _imported(cls, data: Any) -> Any:
        """A network of the user's is the only family, and with weights it starts trained, unless the file says else."""
        if not isinstance(data, dict):
            return data
        sections: dict[str, dict[str, Any]] = {"space": {"families": ["imported"]}} if data.get("model") else {}
        sections |= {"training": {"epochs": 0}} if data.get("weights") else {}
        for key, defaults in sections.items():
            if isinstance(given := data.get(key) or {}, dict):
                data = data | {key: defaults | given}
        return data

    @field_validator("task", mode="before")
    @classmethod
    def _task(cls, value: Any) -> Any:
        """Accept `digits`, `image_folder: {path: ...}` and `python: package.module:function`."""
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and len(value) == 1 and "name" not in value:
            name, options = next(iter(value.items()))
            if isinstance(options, dict):
                return {"name": name, "options": options}
            return {"name": name, "shorthand": options}
        return value

    @field_validator("limits", mode="before")
    @classmethod
    def _limits(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {metric: _checked(quantity.number, limit, f"{metric}: ") for metric, limit in value.items()}

    @field_validator("timeout", "trial_timeout", mode="before")
    @classmethod
    def _seconds(cls, value: Any) -> Any:
        return None if value is None else _checked(quantity.seconds, value, "")

    @field_validator("polish")
    @classmethod
    def _polish(cls, value: int, info: ValidationInfo) -> int:
        trials = info.data.get("trials", value + 1)
        if value >= trials:
            raise ValueError(f"{value} is not allowed; allowed: 0 to {trials - 1}, below trials")
        return value

    @field_validator("workers")
    @classmethod
    def _workers(cls, value: int | str) -> int | str:
        if isinstance(value, int) and not 1 <= value <= 256:
            raise ValueError(f"{value} is not allowed; allowed: 1 to 256, or auto")
        return value


SECTIONS = {
    "space": SpaceSection.model_fields,
    "training": TrainingSection.model_fields,
    "distillation": DistillationSection.model_fields,
    "halving": HalvingSection.model_fields,
}


def _checked(read: Any, value: Any, where: str) -> float:
    try:
        return float(read(value))
    except ConfigError as error:
        raise ValueError(f"{where}{error}") from None


def read_config(path: Path | None, overrides: dict[str, Any]) -> StudyConfig:
    """Return a checked study file; without a path the default one.

    Args:
        path: Of a YAML file.
        overrides: Top-level keys given on the command line.

    Raises:
        ConfigError: The file is missing, is no YAML, or says something that is not allowed; the message
            names file and key.
    """
    where = str(path) if path else "default study"
    try:
        text = (
            path.read_text() if path else (resources.files("paredown.search.study_file") / "default.yaml").read_text()
        )
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: is no text file: {error}") from error
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: is no valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: must hold keys such as study, task and objectives")
    return checked_config(data, where, {key: value for key, value in overrides.items() if value is not None})


def checked_config(data: dict[str, Any], where: str, given: dict[str, Any]) -> StudyConfig:
    """Return the checked configuration.

    Args:
        data: What a study file holds.
        where: How messages name it.
        given: Top-level keys given on the command line, in place of the file's.

    Raises:
        ConfigError: It says something that is not allowed; the message names the key.
    """
    try:
        return StudyConfig.model_validate(data | given)
    except ValidationError as error:
        lines = [_explained(where, problem, given) for problem in error.errors()]
        raise ConfigError("\n".join(lines)) from None


def _explained(where: str, problem: Any, given: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["loc"] and problem["loc"][0] in given:
        where = "command line"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        fields = SECTIONS.get(str(problem["loc"][0]), StudyConfig.model_fields)
        return f"{where}: {key}: no such key; allowed: {', '.join(fields)}"
    shown = "" if problem["type"] in {"missing", "value_error"} else f" (got {problem['input']!r})"
    return f"{where}: {key}: {message}{shown}"
