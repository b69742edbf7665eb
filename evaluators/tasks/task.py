"""What a task is: images in splits, their classes, and what may be done to them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from paredown.evaluators.errors import TaskError
from paredown.spaces.families.family import ImageShape
from paredown.spaces.knob import Range

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
CACHED_RESOLUTIONS = 6


@dataclass(frozen=True)
class Split:
    """Images and classes.

    Attributes:
        images: `n x c x h x w`, 0 to 255.
        labels: `n`, indices into the task's classes.
    """

    images: NDArray[np.uint8]
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
        channels: 1 for grey, 3 for RGB.
        resolutions: Sides, in pixels, at which the images may be used.
        load: Reads a split at a resolution.
        digest: Changes when the data changes.
        augmentation: For training.
    """

    name: str
    classes: tuple[str, ...]
    channels: int
    resolutions: Range
    load: Callable[[SplitName, int], Split]
    digest: str
    augmentation: Augmentation = Augmentation()

    def input_shape(self, resolution: int) -> ImageShape:
        """Return channels, height and width of one input at a resolution."""
        return self.channels, resolution, resolution


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of the training images, one a channel, on a scale of 0 to 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return `n x c x h x w` with zero mean and unit deviation over the training set."""
        shape = (1, -1, 1, 1)
        mean = np.asarray(self.mean, dtype=np.float32).reshape(shape)
        std = np.asarray(self.std, dtype=np.float32).reshape(shape)
        scaled: NDArray[np.float32] = (images.astype(np.float32) / np.float32(255) - mean) / std
        return scaled


@functools.lru_cache(maxsize=3 * CACHED_RESOLUTIONS)
def split_at(task: Task, name: SplitName, resolution: int) -> Split:
    """Return a split at a resolution, resized once and kept in memory."""
    return task.load(name, resolution)


@functools.lru_cache(maxsize=CACHED_RESOLUTIONS)
def normalisation_at(task: Task, resolution: int) -> Normalisation:
    """Return the normalisation that the training images at a resolution give."""
    images = split_at(task, "train", resolution).images
    mean = images.mean(axis=(0, 2, 3)) / 255
    std = images.std(axis=(0, 2, 3)) / 255
    return Normalisation(tuple(round(float(m), 6) for m in mean), tuple(max(round(float(s), 6), 1e-3) for s in std))


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
            raise TaskError(f"{where}: class {name!r} has no image; give it some or remove its folder")
    return labels
