"""A task from a function of the user's: `python: package.module:function`.

The function takes no argument and returns a mapping with `train`, `validation` and `test`, each a pair of
arrays (images, labels) or a sequence of (image, label), such as a PyTorch dataset. An image is a PIL image, or an array
or tensor of `l` (a signal), `h x w`, `c x h x w` or `h x w x c`, of any numbers; labels are integers from 0. An entry
`classes` names the classes.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.errors import TaskError
from paredown.evaluators.tasks.array_options import ArrayOptions
from paredown.evaluators.tasks.data_summary import summary_of
from paredown.evaluators.tasks.image_decoding import native_size, settled_fit
from paredown.evaluators.tasks.images import at_size
from paredown.evaluators.tasks.options import resolutions_of, stored_options, value_range
from paredown.evaluators.tasks.python_data import Arrays, content_digest, read_labels, read_pixels, rows_of, unified
from paredown.evaluators.tasks.resizing import fitted
from paredown.evaluators.tasks.task import (
    SPLITS,
    Augmentation,
    Loader,
    Split,
    SplitName,
    Task,
    sampled,
    size_at,
)
from paredown.spaces.importing import ImportRefused, import_callable


class PythonOptions(ArrayOptions):
    """What a study file may say.

    Attributes:
        function: `package.module:function`, importable from the study file's folder.
    """

    function: str


def _load(options: PythonOptions, folder: Path) -> Task:
    try:
        function = import_callable(options.function, folder, "function")
    except ImportRefused as error:
        raise TaskError(f"function: {error}") from error
    try:
        returned = function()
    except Exception as error:  # whatever the user's code raises is the user's to mend
        raise TaskError(f"function: {options.function} raised {type(error).__name__}: {error}") from error
    if not isinstance(returned, Mapping):
        raise TaskError(f"function: {options.function} returned {type(returned).__name__}, not a mapping")
    if missing := [name for name in SPLITS if name not in returned]:
        raise TaskError(f"function: {options.function} returned no {missing[0]!r}; needed: {', '.join(SPLITS)}")
    return task_of(returned, "python", f"function: {options.function}", options)


def task_of(data: Mapping[str, Any], name: str, where: str, options: ArrayOptions) -> Task:
    """Return the task made of images and labels.

    Args:
        data: `train`, `validation` and `test` as the module's docstring says, and perhaps `classes`.
        name: Name of the task in the catalogue.
        where: How messages name the source of the data.
        options: What a study file says.

    Raises:
        TaskError: The data is malformed; the message names the split.
    """
    labels, pixels = {}, {}
    for split in SPLITS:
        images, classes_of = rows_of(data[split], f"{where}: {split}")
        labels[split] = read_labels(classes_of, len(images), f"{where}: {split}")
        pixels[split] = read_pixels(images, f"{where}: {split}", options.channels, earlier=options.fit == "earlier")
    largest = max(int(part.max()) for part in labels.values())
    classes = tuple(str(c) for c in data.get("classes", range(largest + 1)))
    if largest >= len(classes):
        raise TaskError(f"{where}: label {largest} has no name in classes")
    for split in SPLITS:
        sampled(labels[split], classes, f"{where}: {split}")
    arrays = unified(pixels, where, earlier=options.fit == "earlier")
    return _task(name, options, classes, arrays, labels)


def _task(
    name: str,
    options: ArrayOptions,
    classes: tuple[str, ...],
    arrays: Arrays,
    labels: Mapping[SplitName, NDArray[np.int64]],
) -> Task:
    sizes = [(int(h), int(w)) for images in arrays.images.values() for _, h, w in (image.shape for image in images)]
    fit = settled_fit(options.fit, sizes)
    if options.fit == "keep" and len({h / w for h, w in sizes}) > 1:
        raise TaskError(f"fit: keep needs images of one aspect; found {min(sizes)} and {max(sizes)} (h, w)")
    native, train = native_size(sizes, fit), arrays.images["train"]
    looked_at = [train] if train[0].dtype == np.float32 else arrays.images.values()
    lowest = min(float(image.min()) for part in looked_at for image in part)
    highest = max(float(image.max()) for part in looked_at for image in part)
    values = value_range(str(train[0].dtype), lowest, highest, options.range)
    kept = {split: _at_native(images, native, fit) for split, images in arrays.images.items()}
    channels = kept["train"].shape[1]
    same = values.dtype == "uint8" and channels in (1, 3) and all(h == w for h, w in sizes)
    stored = stored_options(options, fit, reads_as_earlier=same and arrays.is_exact_in_8_bits)
    return Task(
        name=name,
        classes=classes,
        channels=channels,
        resolutions=resolutions_of(native),
        load=functools.partial(_split, images=kept, labels=dict(labels), native=native),
        digest=content_digest(arrays, labels),
        augmentation=Augmentation(options.flip, options.crop),
        native=native,
        is_kept=True,
        fit=fit,
        values=values,
        options=stored,
        summary=functools.partial(summary_of, kept, labels, classes, str(values)),
    )


def _at_native(images: Any, native: tuple[int, int], fit: Any) -> NDArray[Any]:
    if isinstance(images, np.ndarray) and images.shape[2:] == native:
        return images
    return np.stack([fitted(image, *native, fit) for image in images])


def _split(
    name: SplitName,
    resolution: int,
    *,
    images: dict[SplitName, NDArray[Any]],
    labels: dict[SplitName, NDArray[np.int64]],
    native: tuple[int, int],
) -> Split:
    return Split(at_size(images[name], *size_at(native, resolution)), labels[name])


PYTHON = Loader("python", PythonOptions, "function", _load)
