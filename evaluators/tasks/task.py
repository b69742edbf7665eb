"""What a task is: images in splits, their classes, and what may be done to them."""

import functools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from paredown.evaluators.errors import TaskError
from paredown.evaluators.tasks.data_summary import DataSummary
from paredown.evaluators.tasks.images import Images, StoredImages
from paredown.evaluators.tasks.normalisation import EIGHT_BITS, Normalisation, ValueRange, normalisation_of
from paredown.evaluators.tasks.resizing import Fit
from paredown.spaces.families.family import ImageShape
from paredown.spaces.knob import Range

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
KEPT_BYTES = 256 << 20
"""Splits at their resolutions are kept in memory up to this size; those in files take none."""


@dataclass(frozen=True)
class Split:
    """Images and classes.

    Attributes:
        images: `n x c x h x w`, values in the task's range.
        labels: `n`, indices into the task's classes.
    """

    images: Images
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images.

    Attributes:
        flip: Mirror half of them left to right.
        crop: Shift by up to this share of the side, the border filled with zeros.
    """

    flip: bool = False
    crop: float = 0.0


@dataclass(frozen=True)
class Task:
    """Images to classify.

    Attributes:
        name: Name in the catalogue.
        classes: Names of the classes, in the order of the model's outputs.
        channels: Number of channels: 1 for grey, 3 for RGB, or what the data has.
        resolutions: Longer sides, in pixels, at which the images may be used.
        load: Reads a split at a resolution.
        digest: Changes when the data changes.
        augmentation: For training.
        native: Height and width of the images as they are kept; every resolution has their aspect.
        is_kept: Whether images are first brought to the native size, then to a resolution; else to that at once.
        fit: How an image of another aspect comes to the task's.
        values: Type and range of the values.
        upright: Whether photos are turned as their tag says.
        options: Options as a study stores them, those settled that were left to the data; None: as they are.
        summary: Describes the data; None where there is nothing to say.
    """

    name: str
    classes: tuple[str, ...]
    channels: int
    resolutions: Range
    load: Callable[[SplitName, int], Split]
    digest: str
    augmentation: Augmentation = Augmentation()
    native: tuple[int, int] = (1, 1)
    is_kept: bool = False
    fit: Fit = "crop"
    values: ValueRange = EIGHT_BITS
    upright: bool = True
    options: Mapping[str, Any] | None = field(default=None, compare=False)
    summary: Callable[[], DataSummary] | None = field(default=None, compare=False)

    def input_shape(self, resolution: int) -> ImageShape:
        """Return channels, height and width of one input whose longer side is a resolution."""
        height, width = size_at(self.native, resolution)
        return self.channels, height, width


def size_at(native: tuple[int, int], resolution: int) -> tuple[int, int]:
    """Return height and width, in the native proportion, of which the longer one is a resolution."""
    longer = max(native)
    height, width = (max(1, round(side * resolution / longer)) for side in native)
    return height, width


_kept: "OrderedDict[tuple[Task, SplitName, int], Split]" = OrderedDict()


def split_at(task: Task, name: SplitName, resolution: int) -> Split:
    """Return a split at a resolution; those used last are kept in memory."""
    key = (task, name, resolution)
    if key not in _kept:
        _kept[key] = task.load(name, resolution)
        while len(_kept) > 1 and sum(_bytes_in_memory(split) for split in _kept.values()) > KEPT_BYTES:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return _kept[key]


def _bytes_in_memory(split: Split) -> int:
    return 0 if isinstance(split.images, StoredImages) else split.images.nbytes


@functools.lru_cache(maxsize=64)
def normalisation_at(task: Task, resolution: int) -> Normalisation:
    """Return the normalisation that the training images at a resolution give."""
    return normalisation_of(split_at(task, "train", resolution).images, task.values)


@dataclass(frozen=True)
class Loader:
    """An entry of the catalogue of tasks.

    Attributes:
        name: As users write it.
        options: What a study file may say of it; checked by pydantic.
        shorthand: The option that a bare value sets; empty where there is none.
        load: From checked options and the folder that relative paths start at to the task.
    """

    name: str
    options: type[BaseModel]
    shorthand: str
    load: Callable[[Any, Path], Task]


def sampled(labels: NDArray[np.int64], classes: tuple[str, ...], where: str) -> NDArray[np.int64]:
    """Return the labels as they are where every class has an image.

    Raises:
        TaskError: A class has none.
    """
    counts = np.bincount(labels, minlength=len(classes))
    for name, count in zip(classes, counts, strict=True):
        if count == 0:
            raise TaskError(f"{where}: class {name!r} has no image; give it some, or remove the class")
    return labels
