"""A task from a function of the user's: `python: package.module:function`.

The function takes no argument and returns a mapping with `train`, `validation` and `test`, each a pair of
arrays (images, labels) or a sequence of (image, label), such as a PyTorch dataset. An image is a PIL image,
or an array or tensor of `h x w`, `h x w x c` or `c x h x w`, in 0 to 255 (integers) or 0 to 1 (floats). An entry
`classes` names the classes.
"""

import functools
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from paredown.evaluators.errors import TaskError
from paredown.evaluators.tasks.resizing import in_8_bits, squared
from paredown.evaluators.tasks.task import SPLITS, Augmentation, Loader, Split, SplitName, Task, sampled
from paredown.spaces.importing import ImportRefused, import_callable
from paredown.spaces.knob import Range

LARGEST_SIDE = 224


class PythonOptions(BaseModel):
    """What a study file may say.

    Attributes:
        function: `package.module:function`, importable from the study file's folder.
        flip: Mirror half of the training images.
        crop: Shift training images by up to this share of their side.
    """

    model_config = ConfigDict(extra="forbid")
    function: str
    flip: bool = False
    crop: float = Field(default=0.0, ge=0, lt=0.5)


def _load(options: PythonOptions, folder: Path) -> Task:
    try:
        function = import_callable(options.function, folder, "function")
    except ImportRefused as error:
        raise TaskError(f"function: {error}") from error
    returned = function()
    if not isinstance(returned, Mapping):
        raise TaskError(f"function: {options.function} returned {type(returned).__name__}, not a mapping")
    if missing := [name for name in SPLITS if name not in returned]:
        raise TaskError(f"function: {options.function} returned no {missing[0]!r}; needed: {', '.join(SPLITS)}")
    augmentation = Augmentation(options.flip, options.crop)
    return task_of(returned, "python", f"function: {options.function}", augmentation)


def task_of(data: Mapping[str, Any], name: str, where: str, augmentation: Augmentation) -> Task:
    """Return the task made of images and labels.

    Args:
        data: `train`, `validation` and `test` as the module's docstring says, and perhaps `classes`.
        name: Name of the task in the catalogue.
        where: How messages name the source of the data.
        augmentation: For training.

    Raises:
        TaskError: The data is malformed; the message names the split.
    """
    splits = {split: _pairs(data[split], f"{where}: {split}") for split in SPLITS}
    largest = max(int(labels.max()) for _, labels in splits.values())
    classes = tuple(str(c) for c in data.get("classes", range(largest + 1)))
    if largest >= len(classes):
        raise TaskError(f"{where}: label {largest} has no name in classes")
    for split in SPLITS:
        sampled(splits[split][1], classes, f"{where}: {split}")
    images = splits["train"][0]
    side = min(LARGEST_SIDE, min(images[0].size))
    return Task(
        name=name,
        classes=classes,
        channels=1 if images[0].mode == "L" else 3,
        resolutions=Range(8, max(8, side // 4 * 4), 4),
        load=functools.partial(_split, splits=splits, mode=images[0].mode),
        digest=_digest(splits),
        augmentation=augmentation,
    )


def _pairs(data: Any, where: str) -> tuple[list[Image.Image], NDArray[np.int64]]:
    if isinstance(data, tuple) and len(data) == 2 and hasattr(data[0], "shape"):
        images: Iterable[Any] = data[0]
        labels = np.asarray(data[1])
    else:
        try:
            rows = [data[i] for i in range(len(data))]
            images = [row[0] for row in rows]
            labels = np.asarray([int(row[1]) for row in rows])
        except (TypeError, ValueError, IndexError, KeyError) as error:
            raise TaskError(f"{where}: neither (images, labels) nor a sequence of (image, label): {error}") from error
    pictures = [_picture(image, where) for image in images]
    if not pictures or labels.shape != (len(pictures),):
        raise TaskError(f"{where}: {len(pictures)} images and labels of shape {labels.shape}; needed: a label an image")
    if not np.issubdtype(labels.dtype, np.integer):
        raise TaskError(f"{where}: labels must be integers from 0; got {labels.dtype}")
    if labels.min() < 0:
        raise TaskError(f"{where}: labels must be integers from 0; got {labels.min()}")
    return pictures, labels.astype(np.int64)


def _picture(image: Any, where: str) -> Image.Image:
    if isinstance(image, Image.Image):
        narrow = in_8_bits(image)
        return narrow.convert("L" if narrow.mode in {"L", "1"} else "RGB")
    array = np.asarray(image)
    if not array.size or array.dtype.kind not in "buif":
        raise TaskError(f"{where}: an image is {array.dtype} of shape {array.shape}; needed: numbers, at least one")
    if not np.isfinite(array).all():
        raise TaskError(f"{where}: an image has values that are not finite")
    if np.issubdtype(array.dtype, np.floating):
        if array.min() < 0 or array.max() > 1:
            raise TaskError(f"{where}: floats must lie in 0 to 1; found {array.min():g} to {array.max():g}")
        array = np.round(array * 255)
    elif array.min() < 0 or array.max() > 255:
        raise TaskError(f"{where}: integers must lie in 0 to 255; found {array.min()} to {array.max()}")
    array = array.astype(np.uint8)
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise TaskError(f"{where}: an image has shape {array.shape}; allowed: h x w, h x w x 3, 3 x h x w")
    return Image.fromarray(array)


def _split(
    name: SplitName,
    resolution: int,
    *,
    splits: dict[SplitName, tuple[list[Image.Image], NDArray[np.int64]]],
    mode: str,
) -> Split:
    images, labels = splits[name]
    return Split(np.stack([squared(image, resolution, mode) for image in images]), labels)


def _digest(splits: Mapping[SplitName, tuple[list[Image.Image], NDArray[np.int64]]]) -> str:
    content = hashlib.sha256()
    for images, labels in splits.values():
        content.update(labels.tobytes())
        for image in images:
            content.update(image.tobytes())
    return content.hexdigest()


PYTHON = Loader("python", PythonOptions, "function", _load)
