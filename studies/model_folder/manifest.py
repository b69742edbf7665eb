"""The part of a manifest that a prediction relies on, checked: a folder may come from anywhere."""

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from paredown.evaluators.files.names import MANIFEST_FILE
from paredown.evaluators.tasks.input_format import InputFormat, Side
from paredown.evaluators.tasks.normalisation import Normalisation
from paredown.studies.errors import StudyError

CHANNELS = {"L": 1, "RGB": 3}
"""Of manifests that have no section `input`."""


def _below(name: str) -> str:
    """Return the name of a file where it lies in the folder itself or below it."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\x00" in name:
        raise ValueError(f"{name!r} is no file of the folder")
    return name


FileName = Annotated[str, AfterValidator(_below)]


class Preprocessing(BaseModel):
    """How pixels become inputs.

    Attributes:
        mode: Pillow's name of grey or colour, where the manifest has no section `input`.
        resolution: Longer side, in pixels.
        mean: Mean of each channel.
        std: Standard deviation of each channel.
    """

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)
    mode: str = ""
    resolution: Side
    mean: list[float]
    std: list[Annotated[float, Field(gt=0)]]


class Manifest(BaseModel):
    """What a prediction needs.

    Attributes:
        classes: Names, in the order of the outputs.
        preprocessing: How pixels become inputs.
        input: What the model takes; None in manifests of before.
        files: SHA-256 of each file, by name.
        exporter: Name of the format; empty in manifests of before there were several.
        model_file: Name of the file that is run; empty for the format's usual one.
    """

    model_config = ConfigDict(extra="allow")
    classes: Annotated[list[str], Field(min_length=1)]
    preprocessing: Preprocessing
    input: InputFormat | None = None
    files: dict[FileName, str]
    exporter: str = ""
    model_file: str = ""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.input is None and self.preprocessing.mode not in CHANNELS:
            raise ValueError(f"preprocessing.mode: {self.preprocessing.mode!r}; allowed: {', '.join(CHANNELS)}")
        channels = self.format.channels
        for name in ("mean", "std"):
            if len(getattr(self.preprocessing, name)) != channels:
                raise ValueError(f"preprocessing.{name}: needed: {channels} numbers, one a channel")
        return self

    @property
    def format(self) -> InputFormat:
        """What the model takes."""
        if self.input is not None:
            return self.input
        side = self.preprocessing.resolution
        return InputFormat(channels=CHANNELS[self.preprocessing.mode], height=side, width=side)

    @property
    def normalisation(self) -> Normalisation:
        """What is done to the values."""
        preprocessing, (low, high) = self.preprocessing, self.format.range
        return Normalisation(tuple(preprocessing.mean), tuple(preprocessing.std), low, high)


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of an exported folder; every file that it lists is there and as it was.

    Raises:
        StudyError: There is none, it is not what an export writes, or a file is missing or changed.
    """
    file = folder / MANIFEST_FILE
    try:
        data: Any = json.loads(file.read_text())
        manifest = Manifest.model_validate(data)
    except FileNotFoundError:
        raise StudyError(
            f"{folder}: no exported model: there is no manifest.json; `paredown export` makes one"
        ) from None
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise StudyError(
            f"{file}: cannot be read as a manifest: {key + ': ' if key else ''}{problem['msg']}; export the model again"
        ) from None
    except (ValueError, OSError, RecursionError) as error:
        raise StudyError(f"{file}: cannot be read as a manifest: {error}") from error
    for name, digest in manifest.files.items():
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise StudyError(f"{path}: missing or changed since the export; export the model again")
    return manifest
