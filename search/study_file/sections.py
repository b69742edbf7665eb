"""The sections of a study file, each a checked model; keys that were renamed keep their earlier names."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)

from paredown.evaluators.training.fit import TrainingPlan
from paredown.evaluators.training.precision import Precision
from paredown.search.errors import ConfigError
from paredown.search.study_file import quantity

BASELINE = "baseline"
DEFAULTS = TrainingPlan()


def _reads(read: Callable[[Any], float]) -> BeforeValidator:
    """Return what lets a field be written as a quantity such as 60k or 8h."""

    def checked(value: Any) -> float:
        try:
            return float(read(value))
        except ConfigError as error:
            raise ValueError(str(error)) from None

    return BeforeValidator(checked)


def _clock(value: Any) -> str:
    try:
        return quantity.clock(value)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _size_or_off(value: Any) -> float:
    return 0.0 if value in (False, "off") else quantity.size_bytes(value)  # YAML reads off as false


def _written(what: dict[str, Any], suffixes: tuple[str, ...], *others: dict[str, Any]) -> WithJsonSchema:
    text = {"type": "string", "pattern": quantity.pattern(suffixes)}
    return WithJsonSchema({"anyOf": [{"type": "number", **what}, text, *others]})


Duration = Annotated[float, _reads(quantity.seconds), _written({"exclusiveMinimum": 0}, tuple(quantity.SECONDS))]
ClockTime = Annotated[
    str, BeforeValidator(_clock), WithJsonSchema({"type": "string", "pattern": f"^{quantity.CLOCK}$"})
]
MemorySize = Annotated[
    float, _reads(quantity.size_bytes), _written({"exclusiveMinimum": 0}, tuple(quantity.BYTES)), Field(gt=0)
]
Size = Annotated[
    float,
    _reads(_size_or_off),
    _written({"minimum": 0}, tuple(quantity.BYTES), {"enum": ["off", False]}),
]


class Section(BaseModel):
    """A mapping of a study file: unknown keys are refused, and keys that were renamed answer to both names."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    _typed: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def earlier_names(cls) -> dict[str, str]:
        """Return the earlier names of keys, each with the key that it stands for."""
        aliases = {key: field.validation_alias for key, field in cls.model_fields.items()}
        return {
            str(earlier): key
            for key, alias in aliases.items()
            if isinstance(alias, AliasChoices)
            for earlier in alias.choices[1:]
        }

    @model_validator(mode="wrap")
    @classmethod
    def _remember(cls, data: Any, handler: ModelWrapValidatorHandler["Section"]) -> "Section":
        """Keep which earlier names were used: messages name what the user wrote."""
        section = handler(data)
        if isinstance(data, dict):
            section._typed |= {key: earlier for earlier, key in cls.earlier_names().items() if earlier in data}
        return section

    def typed(self, key: str) -> str:
        """Return a key by the name that the user gave it."""
        return self._typed.get(key, key)

    def renamed(self) -> dict[str, str]:
        """Return the earlier names that the user gave, also in sections of this one, each with today's name."""
        found = {earlier: key for key, earlier in self._typed.items()}
        for key in type(self).model_fields:
            if isinstance(section := getattr(self, key), Section):
                found |= {f"{key}.{earlier}": f"{key}.{now}" for earlier, now in section.renamed().items()}
        return found


class TaskSection(Section):
    """The data that is learned; its options are checked by the task itself.

    Attributes:
        name: Name in the catalogue of tasks.
        options: Options of the task.
        shorthand: The one option that a task may be given without its name.
    """

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    shorthand: Any = None


class SpaceSection(Section):
    """The part of the joint space that is searched.

    Attributes:
        families: Names of architecture families; the first one is the baseline's.
        steps: Names of compression steps; they are applied in the order of the catalogue.
        knobs: Knob to a value (fixed), a list or `{low, high, step}` (narrowed), or null (dropped).
        baseline: Knob of the first family to its value in the reference network.
        skip: Names of layers that every step leaves alone, with `*`, `?` and `[...]`; a name stands for all inside it.
        keep: The same of layers that keep their shape; their weights may be rounded or become zero.
    """

    families: list[str] = Field(default=["mbconv"], min_length=1)
    steps: list[str] = Field(default_factory=list)
    knobs: dict[str, Any] = Field(default_factory=dict)
    baseline: dict[str, Any] = Field(default_factory=dict)
    skip: list[str] = Field(default_factory=list)
    keep: list[str] = Field(default_factory=list)

    @model_serializer(mode="wrap")
    def _as_before_there_were_patterns(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out patterns where there are none: a study that was begun without them agrees with itself."""
        written: dict[str, Any] = handler(self)
        return {key: value for key, value in written.items() if value or key not in ("skip", "keep")}


class TrainingSection(Section):
    """How each candidate is trained: the fields of `TrainingPlan`, which holds their meaning and their defaults.

    Attributes:
        batch_size: Number of images in each step of the optimizer; null takes 64, or 128 at twice the learning rate for
            small networks.
        cache_size: Limit of the folder that keeps trained, uncompressed networks for candidates that differ in
            compression alone, e.g. 500MB or 2GiB; off keeps none.
    """

    epochs: int = Field(default=DEFAULTS.epochs, ge=0)
    finetune_epochs: int = Field(default=DEFAULTS.finetune_epochs, ge=0)
    batch_size: int | None = Field(default=None, ge=2)
    learning_rate: float = Field(default=DEFAULTS.learning_rate, gt=0)
    weight_decay: float = Field(default=DEFAULTS.weight_decay, ge=0)
    label_smoothing: float = Field(default=DEFAULTS.label_smoothing, ge=0, lt=1)
    patience: int = Field(default=DEFAULTS.patience, ge=1)
    max_seconds: float = Field(default=DEFAULTS.max_seconds, gt=0)
    accelerator: Literal["auto", "cpu", "cuda"] = DEFAULTS.accelerator
    precision: Precision = DEFAULTS.precision
    mode: Literal["scratch", "inherit"] = DEFAULTS.mode
    supernet_epochs: int = Field(default=DEFAULTS.supernet_epochs, ge=1)
    inherit_epochs: int = Field(default=DEFAULTS.inherit_epochs, ge=0)
    cache_size: Size = Field(default=DEFAULTS.cache_bytes, validation_alias=AliasChoices("cache_size", "cache"))

    def plan(self, seed: int) -> TrainingPlan:
        """Return the plan that the section describes."""
        given = self.model_dump(exclude={"cache_size", "batch_size"})
        # A supernet trains networks of all sizes together, and its slices as it was trained.
        is_free = self.batch_size is None and self.mode == "scratch"
        size = self.batch_size or DEFAULTS.batch_size
        return TrainingPlan(
            **given, batch_size=size, batch_from_network=is_free, cache_bytes=self.cache_size, seed=seed
        )


class DistillationSection(Section):
    """The teacher of the step `distillation`; see `paredown.evaluators.training.teacher.TeacherSpec`.

    Attributes:
        teacher: `baseline`, the reference network of the study, or `package.module:function`.
        weights: File of trained weights of a teacher that a function builds.
        resolution: Side of the teacher's input, in pixels; null takes that of each student.
    """

    teacher: str = BASELINE
    weights: str | None = None
    resolution: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _named(self) -> "DistillationSection":
        for key in ("weights", "resolution"):
            if self.teacher == BASELINE and getattr(self, key) is not None:
                raise ValueError(f"{key} belongs to a network of yours; name it by teacher: package.module:function")
        return self


class ResourcesSection(Section):
    """What a driver that places trials on machines reserves for each of them.

    Attributes:
        cpu: Number of cores, which is also the number of threads of a trial; null reserves one and divides the cores
            of this machine between the workers.
        gpu: Number of GPUs; several trials share one at a fraction such as 0.5.
        custom: Name of a resource that machines of the cluster declare, such as `jetson`, to the amount of it.
    """

    cpu: float | None = Field(default=None, gt=0)
    gpu: float = Field(default=0.0, ge=0)
    custom: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)


class HalvingSection(Section):
    """How trials are stopped early; see `paredown.search.schedulers.halving.Halving`.

    Attributes:
        min_epochs: Number of finished epochs at the first rung, before which no trial is stopped.
        factor: At each rung the best 1/factor of the trials goes on; the epochs from rung to rung grow by this factor.
        brackets: Number of series of rungs, each of which begins one rung later than the one before.
    """

    min_epochs: int = Field(ge=1, validation_alias=AliasChoices("min_epochs", "first"))
    factor: int = Field(default=2, ge=2)
    brackets: int = Field(default=1, ge=1)


class MeasureOnSection(Section):
    """The machine of a Ray cluster that measures latency, in place of the one that runs the trial.

    Attributes:
        resource: Name of the resource that this machine declares, such as `pi4`; it measures one model at a time.
        timeout: Time in which one measurement has to end, such as 5m, with its wait for others on that machine.
        retries: Number of further attempts after one that did not end in time or whose process died.
    """

    resource: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")
    timeout: Duration = 300
    retries: int = Field(default=2, ge=0, le=20)

    @field_validator("resource")
    @classmethod
    def _is_of_one_machine(cls, value: str) -> str:
        if value.lower() in ("cpu", "gpu", "memory", "object_store_memory"):
            raise ValueError(f"{value!r} is what every machine has; allowed: a name of ray start --resources")
        return value
