"""What an exported model takes, as its manifest says, and from a file to that: the way that training images went."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from paredown.evaluators.errors import TaskError
from paredown.evaluators.tasks.image_file import (
    DamagedImage,
    decoded,
    has_deep_colours,
    in_8_bits,
    opened,
    with_channels,
)
from paredown.evaluators.tasks.resizing import Fit, Pixels, fitted, resized

if TYPE_CHECKING:  # for annotations alone: it loads PyTorch, which a prediction does without
    from paredown.evaluators.tasks.task import Task
    from paredown.spaces.families.family import ImageShape

Side = Annotated[int, Field(ge=1, le=1 << 20)]
ARRAY = ".npy"
"""Files of arrays, for inputs that are no images."""
IMAGE_CHANNELS = 4
"""Most channels that an image file has."""


class InputFormat(BaseModel):
    """The section `input` of a manifest.

    Attributes:
        channels: Number of channels.
        height: In pixels.
        width: In pixels.
        dtype: Type of the values before they are normalised.
        range: What counts as 0 and what as 1, before mean and deviation.
        fit: How an image of another aspect comes to the shape.
        native: Height and width that an image is brought to first; None: it goes to its shape at once.
        upright: Whether a photo is turned as its tag says.
    """

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)
    channels: Annotated[int, Field(ge=1, le=1 << 16)]
    height: Side
    width: Side
    dtype: Literal["uint8", "uint16", "float32"] = "uint8"
    range: tuple[float, float] = (0.0, 255.0)
    fit: Fit = "crop"
    native: tuple[Side, Side] | None = None
    upright: bool = False

    @classmethod
    def of(cls, task: "Task", shape: "ImageShape") -> "InputFormat":
        """Return what a network for a task takes."""
        channels, height, width = shape
        return cls(
            channels=channels,
            height=height,
            width=width,
            dtype=task.values.dtype,  # type: ignore[arg-type]  # checked here
            range=(task.values.low, task.values.high),
            fit=task.fit,
            native=task.native if task.is_kept else None,
            upright=task.upright,
        )

    @property
    def resizing(self) -> str:
        """How an image comes to the shape, in words."""
        said = {
            "crop": "crop to the central square, then bilinear",
            "pad": "bilinear, the aspect kept, with a border of zeros",
            "stretch": "bilinear, the aspect not kept",
            "keep": "bilinear",
        }
        first = f"; first to {self.native[0]} x {self.native[1]}" if self.native else ""
        return said[self.fit] + first

    @property
    def scaling(self) -> str:
        """What is done to the values, in words."""
        low, high = self.range
        shift = f"subtract {low:g}, " if low else ""
        return f"{shift}divide by {high - low:g}, subtract mean, divide by std"

    def read(self, file: Path) -> Pixels:
        """Return what a file holds as `c x h x w` of the model's size, in the range of the training data.

        Raises:
            TaskError: It is neither an image nor an array, or is none of the kind that the model was trained on.
        """
        pixels = self._array(file) if file.suffix.lower() == ARRAY else self._image(file)
        if len(pixels) != self.channels:
            raise TaskError(f"{file}: has {len(pixels)} channels; the model takes {self.channels}")
        if self.native is not None:
            pixels = fitted(pixels, *self.native, self.fit)
            return resized(pixels, self.height, self.width)
        return fitted(pixels, self.height, self.width, self.fit)

    def _image(self, file: Path) -> Pixels:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with opened(file) as image:
                    if self.upright and has_deep_colours(image):
                        raise TaskError(f"{file}: has colours of 16 bits; needed: colours of 8 bits, or grey")
                    pixels = decoded(file, image, upright=self.upright)
        except DamagedImage as error:
            raise TaskError(str(error)) from error
        if not self.upright:  # a model of before: it saw 8 bits of whatever there was
            return in_8_bits(pixels, self.channels)
        if pixels.dtype == np.uint8 and self.dtype == "float32" and self.range == (0.0, 1.0):
            pixels = pixels.astype(np.float32) / np.float32(255)
        elif pixels.dtype == np.uint8 and self.channels <= IMAGE_CHANNELS and self.dtype == "uint8":
            return with_channels(pixels, self.channels)
        elif pixels.dtype != self.dtype:
            low, high = self.range
            raise TaskError(
                f"{file}: has values of {pixels.dtype}; the model was trained on {self.dtype} from {low:g} to {high:g}"
            )
        return self._in_range(pixels, file)

    def _array(self, file: Path) -> Pixels:
        try:
            array = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError, MemoryError, SyntaxError) as error:
            raise TaskError(f"{file} is no array that can be read ({error})") from error
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif" or not array.size:
            raise TaskError(f"{file}: needed: an array of numbers")
        if array.ndim not in (1, 2, 3):
            raise TaskError(f"{file}: has shape {array.shape}; allowed: l, h x w, c x h x w, h x w x c")
        if not np.isfinite(array).all():
            raise TaskError(f"{file}: has values that are not finite")
        while array.ndim < 3:
            array = array[None]
        if len(array) != self.channels and array.shape[2] == self.channels:
            array = array.transpose(2, 0, 1)
        if array.dtype.kind == "f" and self.dtype == "uint8" and array.min() >= 0 and array.max() <= 1:
            array = np.round(array * 255)
        return self._in_range(array, file).astype(self.dtype)

    def _in_range(self, pixels: NDArray[Any], file: Path) -> Pixels:
        low, high = self.range
        if self.dtype != "float32" and not (low <= pixels.min() and pixels.max() <= high):
            raise TaskError(
                f"{file}: has values from {pixels.min()} to {pixels.max()}; "
                f"the model was trained on {low:g} to {high:g}"
            )
        return pixels
