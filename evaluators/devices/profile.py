"""What is known of a device: hardware and engine, each number with its source and how it was found."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from paredown.evaluators.devices.board_latency import predicts
from paredown.evaluators.litert.target import NPUS

DataType = Literal["fp32", "fp16", "int8"]
Granularity = Literal["channel", "tensor"]
FileFormat = Literal["onnx", "litert"]
"""The exporters, by name: they lie above this package."""
SMALLEST, LARGEST = 1e-9, 1e18
"""Numbers of devices lie between, so that what is computed of them stays finite."""
LONGEST_MS = 1e9
Number = Annotated[float, Field(strict=True, allow_inf_nan=False, le=LARGEST)]
"""A finite number; strict, as a text or a boolean is none."""


def _not_boolean(given: Any) -> Any:
    if isinstance(given, bool):  # true equals 1
        raise ValueError("a boolean is no number; allowed: 1, 4, 8 or 16")
    return given


ChannelMultiple = Annotated[Literal[1, 4, 8, 16], BeforeValidator(_not_boolean)]
"""What channel pruning rounds numbers of channels to: its catalogue loads PyTorch."""
Count = Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)]


class Figure(BaseModel):
    """A number and where it comes from.

    Attributes:
        value: The number, in the unit that its key names.
        kind: How it was found: measured on the device, emulated, predicted (an allowance included), or published.
        source: Document, program or measurement that says so.
        low: Lower end of the 90 % interval; None where the source gives one number.
        high: Upper end.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: Number = Field(ge=0)
    kind: Literal["measured", "emulated", "predicted", "published"]
    source: str = Field(min_length=1)
    low: Number | None = Field(default=None, gt=0)
    high: Number | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high: one without the other")
        if self.low is not None and self.high is not None and not self.low <= self.value <= self.high:
            raise ValueError(f"value {self.value:g} is not between low {self.low:g} and high {self.high:g}")
        return self

    @property
    def interval_text(self) -> str:
        """How value and interval read: `140 (122 to 163)`."""
        return f"{self.value:g}" + (f" ({self.low:g} to {self.high:g})" if self.low is not None else "")


def _positive(figure: Figure) -> Figure:
    if figure.value < SMALLEST:
        raise ValueError(f"value {figure.value:g} is not allowed; allowed: more than 0")
    return figure


PositiveFigure = Annotated[Figure, AfterValidator(_positive)]


class Memory(BaseModel):
    """Memory of a device.

    Attributes:
        ram_bytes: Largest contiguous block of RAM: the arena of an engine is one block.
        total_ram_bytes: All RAM.
        flash_bytes: Memory that holds program and model; None where models lie on a disk.
        reserved_ram_bytes: RAM of the largest block that stack, application and engine need beside the arena.
        engine_flash_bytes: Code of the engine, which lies in flash beside the model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ram_bytes: PositiveFigure
    total_ram_bytes: PositiveFigure | None = None
    flash_bytes: PositiveFigure | None = None
    reserved_ram_bytes: Figure
    engine_flash_bytes: Figure | None = None

    @field_validator("reserved_ram_bytes", "engine_flash_bytes")
    @classmethod
    def _leaves_room(cls, taken: Figure | None, info: ValidationInfo) -> Figure | None:
        of = "ram_bytes" if info.field_name == "reserved_ram_bytes" else "flash_bytes"
        all_of_it: Figure | None = info.data.get(of)  # None where it is wrong itself, too
        if taken is not None and all_of_it is not None and taken.value >= all_of_it.value:
            raise ValueError(
                f"value {taken.value:.0f} leaves nothing of {of} for a model; allowed: less than {all_of_it.value:.0f}"
            )
        return taken


class Calibration(BaseModel):
    """The latency of one network on the user's own board.

    Attributes:
        network: Where the network lay.
        latency_ms: What the board took, in ms.
        operator_macs: Its multiply-accumulates by class of operator.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: str
    latency_ms: Number = Field(ge=SMALLEST, le=LONGEST_MS)
    operator_macs: dict[Literal["dense", "convolution", "depthwise", "pointwise"], Annotated[Number, Field(ge=0)]]

    @field_validator("operator_macs")
    @classmethod
    def _computes(cls, macs: dict[str, float]) -> dict[str, float]:
        if sum(macs.values()) < 1:
            raise ValueError(
                "it has no multiply-accumulates; needed: those of dense, convolution, depthwise or pointwise operators"
            )
        return macs


class DeviceProfile(BaseModel):
    """A device: hardware together with the engine that runs models on it.

    Attributes:
        id: Name in study files and on the command line.
        name: Name in words, with the board.
        kind: computer, microcontroller or accelerator.
        processor: What executes the model.
        engine: Runtime that executes the model; the same chip with another engine is another device.
        engine_version: Version of the engine for which the figures hold; empty where they hold for any.
        format: Exporter whose file the device runs.
        dtypes: Number formats that the engine executes.
        weight_granularity: Whether int8 weights have a scale for each output channel or one for each tensor.
        channel_multiple: Multiple to which numbers of channels are best rounded.
        npu: Accelerator configuration of Arm's compiler Vela; None for other devices.
        note: What else a user must know.
        cores: Number of processor cores.
        clock_mhz: Clock, in MHz.
        threads: Threads that execute one model; a computer with other threads is another device.
        batch_size: Images of one run.
        power_mw: Power of the board while a model runs, in mW.
        memory: Its memory.
        latency_predictor: File of the predictor that `paredown device profile` made; None for other devices.
        based_on: Device of the catalogue that this one is a calibrated copy of.
        calibrations: Latencies from the user's own board, which narrow predictions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")
    name: str
    kind: Literal["computer", "microcontroller", "accelerator"]
    processor: str
    engine: str
    engine_version: str = ""
    format: FileFormat
    dtypes: tuple[DataType, ...] = Field(min_length=1)
    weight_granularity: Granularity = "channel"
    channel_multiple: ChannelMultiple = 1
    npu: str | None = None
    note: str = ""
    cores: PositiveFigure
    clock_mhz: Figure
    threads: Count = 1
    batch_size: Count = 1
    power_mw: PositiveFigure | None = None
    memory: Memory
    latency_predictor: str | None = None
    based_on: str | None = None
    calibrations: tuple[Calibration, ...] = ()

    @field_validator("npu")
    @classmethod
    def _is_known_to_vela(cls, npu: str | None) -> str | None:
        if npu is not None and npu not in NPUS:
            raise ValueError(f"allowed: {', '.join(NPUS)}")
        return npu

    @field_validator("latency_predictor")
    @classmethod
    def _lies_beside(cls, name: str | None) -> str | None:
        if name is not None and (not name or Path(name).name != name):
            raise ValueError("allowed: the name of a file in the folder of the device file")
        return name

    @model_validator(mode="after")
    def _has_a_clock(self) -> Self:
        """Refuse a clock of 0, but of a computer that does not tell its own: nothing is computed of that."""
        if self.clock_mhz.value < SMALLEST and (self.kind != "computer" or predicts(self)):
            raise ValueError("clock_mhz: value 0 is not allowed; allowed: more than 0")
        return self

    @classmethod
    def of_stored(cls, stored: Mapping[str, Any]) -> Self:
        """Return the device of a study as it was stored, by this version or an earlier one that checked less.

        Nothing is refused: the study is there.
        """

        def figure(data: Any) -> Figure | None:
            return None if data is None else Figure.model_construct(**data)

        figures = {name: figure(stored.get(name)) for name in ("cores", "clock_mhz", "power_mw")}
        memory = Memory.model_construct(None, **{name: figure(data) for name, data in stored["memory"].items()})
        calibrations = tuple(Calibration.model_construct(**one) for one in stored.get("calibrations", ()))
        parts = {**figures, "memory": memory, "calibrations": calibrations, "dtypes": tuple(stored["dtypes"])}
        return cls.model_construct(**{**stored, **parts})

    @property
    def is_int8_only(self) -> bool:
        """Whether the engine executes nothing but int8."""
        return self.dtypes == ("int8",)

    @property
    def arena_bytes(self) -> float:
        """Largest arena that a model may have: the largest block of RAM without what is reserved."""
        return max(self.memory.ram_bytes.value - self.memory.reserved_ram_bytes.value, 0.0)

    @property
    def engine_flash_bytes(self) -> float:
        """Bytes of the engine's code in flash; 0 where it does not lie there."""
        return self.memory.engine_flash_bytes.value if self.memory.engine_flash_bytes else 0.0

    @property
    def limits(self) -> dict[str, float]:
        """Largest value of each cost that the device allows, by metric; of microcontrollers and their kind alone."""
        if self.format != "litert":
            return {}
        limits = {"ram_bytes": self.arena_bytes}
        if self.memory.flash_bytes is not None:
            limits["flash_bytes"] = self.memory.flash_bytes.value
        return limits

    def to_json(self) -> dict[str, Any]:
        """Return all that is known of it as plain data, with the limits that follow."""
        described = self.model_dump(mode="json", exclude_none=True) | {"limits": self.limits}
        if self.latency_predictor is not None:
            from paredown.evaluators.latency.predictor import load_predictor

            described["profile"] = load_predictor(Path(self.latency_predictor)).facts
        return described
