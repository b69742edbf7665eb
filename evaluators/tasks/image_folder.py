"""Folders of images: `train/<class>/*`, `val/<class>/*` and, if there is one, `test/<class>/*`, at any depth.

Without a test folder, half of the validation images of each class become the test set. Every file is decoded once, when
the task is loaded for the first time; see `paredown.evaluators.tasks.decoded_cache` for where the pixels are kept.
"""

import functools
import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from paredown.evaluators.errors import TaskError
from paredown.evaluators.tasks.data_summary import DataSummary, listed
from paredown.evaluators.tasks.decoded_cache import IMAGES_FILE
from paredown.evaluators.tasks.image_decoding import AnyFit, Decoded, decode
from paredown.evaluators.tasks.image_listing import Files, Listing, list_images, size_and_time, subset
from paredown.evaluators.tasks.images import StoredSplit
from paredown.evaluators.tasks.options import before_fit, resolutions_of, stored_options, value_range
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

DAMAGED = "damaged files"
DAMAGED_LISTED = 20
"""Damaged files that a message names."""


class ImageFolderOptions(BaseModel):
    """What a study file may say.

    Attributes:
        path: The folder that holds train/ and val/; relative to the study file.
        images_per_class: Maximum number of training images of each class; the other splits use a quarter as many.
        flip: Mirror half of the training images.
        crop: Shift training images by up to this share of their side.
        seed: Random seed of the subset and of the test split.
        fit: How images come to one shape: `crop` to the middle square, `pad` with a border, `stretch`, or `keep` where
            all have one aspect. `auto` is `keep` where that is so, else `pad`; `earlier` is what versions before this
            option did.
        skip_damaged: Go on without files that cannot be decoded.
        range: Lowest and highest value of the pixels; without it, what 8 bits hold, or what is found.
    """

    model_config = ConfigDict(extra="forbid")
    path: Path
    images_per_class: int | None = Field(default=None, ge=4)
    flip: bool = True
    crop: float = Field(default=0.125, ge=0, lt=0.5)
    seed: int = 0
    fit: AnyFit = "auto"
    skip_damaged: bool = False
    range: tuple[float, float] | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_before_fit(cls, data: Any, info: ValidationInfo) -> Any:
        return before_fit(data, info)


def _load(options: ImageFolderOptions, folder: Path) -> Task:
    root = folder / options.path
    if not root.is_dir():
        raise TaskError(f"path: no folder {root}; it must hold train/ and val/ with a folder a class")
    earlier = options.fit == "earlier"
    listing = list_images(root, options.seed, earlier=earlier)
    splits = dict(listing.splits)
    if options.images_per_class:
        few = max(1, options.images_per_class // 4)
        limits = {"train": options.images_per_class, "validation": few, "test": few}
        splits = {name: subset(files, limits[name], options.seed) for name, files in splits.items()}
    images = decode(splits, options.fit, _cache_key(splits, options.fit))
    read = _without_damaged(splits, images, root, listing.classes, skip=options.skip_damaged)
    values = value_range(images.look.dtype, images.lowest, images.highest, options.range)
    look = images.look
    same = look.dtype == "uint8" and look.is_square and not look.turned and images.channels in (1, 3)
    same = same and (earlier or _lists_the_same(root, options.seed, listing))
    return Task(
        name="image_folder",
        classes=listing.classes,
        channels=images.channels,
        resolutions=resolutions_of(look.shape[1:]),
        load=functools.partial(_split, splits=_stored(images, read)),
        digest=_digest(splits, root),
        augmentation=Augmentation(options.flip, options.crop),
        native=look.shape[1:],
        is_kept=True,
        fit=look.fit,
        values=values,
        upright=not look.earlier,
        options=stored_options(options, look.fit, reads_as_earlier=same),
        summary=functools.partial(_summary, listing.classes, listing.unused, _named(splits, root), images, str(values)),
    )


def _lists_the_same(root: Path, seed: int, listing: Listing) -> bool:
    """Tell whether versions of before `fit` used the same files."""
    try:
        before = list_images(root, seed, earlier=True)
    except TaskError:
        return False
    return before.classes == listing.classes and before.splits == listing.splits


def _without_damaged(
    splits: Mapping[SplitName, Files], images: Decoded, root: Path, classes: tuple[str, ...], *, skip: bool
) -> dict[SplitName, NDArray[np.int64]]:
    """Return the labels of the images that could be decoded.

    Raises:
        TaskError: Some could not and are not to be skipped, or a class has no other.
    """
    reasons = list(images.damaged.values())
    if len(reasons) == 1 and not skip:
        raise TaskError(f"path: {reasons[0]}; remove or replace it, or set skip_damaged: true")
    if reasons and not skip:
        raise TaskError(
            f"path: {len(reasons):,} files are damaged or no images: {listed(reasons, DAMAGED_LISTED)}; "
            "remove or replace them, or set skip_damaged: true"
        )
    labels, number = {}, 0
    for name, files in splits.items():
        kept = [label for at, (_, label) in enumerate(files, number) if at not in images.damaged]
        labels[name] = np.array(kept, dtype=np.int64)
        number += len(files)
        sampled(labels[name], classes, f"path: {root}: {name} without damaged files")
    return labels


def _stored(images: Decoded, labels: Mapping[SplitName, NDArray[np.int64]]) -> dict[SplitName, tuple[StoredSplit, Any]]:
    total = sum(images.counts.values())
    values = np.memmap(images.folder / IMAGES_FILE, images.look.dtype, "r", 0, (total, *images.look.shape))
    splits: dict[SplitName, tuple[StoredSplit, Any]] = {}
    start = 0
    for name in SPLITS:
        rows: Any = values[start : start + images.counts[name]]
        splits[name] = StoredSplit(rows, images.channels, images.folder / f"statistics-{name}"), labels[name]
        start += images.counts[name]
    return splits


def _split(name: SplitName, resolution: int, *, splits: dict[SplitName, tuple[StoredSplit, Any]]) -> Split:
    stored, labels = splits[name]
    native = stored.values.shape[2], stored.values.shape[3]
    return Split(stored.at(*size_at(native, resolution)), labels)


def _named(splits: Mapping[SplitName, Files], root: Path) -> dict[SplitName, tuple[list[str], list[int]]]:
    """Return names and labels: with many files they take far less memory than paths, and every process has them."""
    return {
        split: ([str(file.relative_to(root)) for file, _ in files], [label for _, label in files])
        for split, files in splits.items()
    }


def _summary(
    classes: tuple[str, ...],
    unused: Mapping[str, list[str]],
    splits: Mapping[SplitName, tuple[list[str], list[int]]],
    images: Decoded,
    values: str,
) -> DataSummary:
    number, read, names = 0, iter(images.digests), list[str]()
    counts: dict[str, dict[str, int]] = {}
    contents: dict[str, list[tuple[str, str]]] = {}
    for split, files in splits.items():
        found: Counter[int] = Counter()
        contents[split] = []
        for name, label in zip(*files, strict=True):
            if number in images.damaged:
                names.append(name)
            else:
                found[label] += 1
                contents[split].append((next(read), name))
            number += 1
        counts[split] = {name: found[label] for label, name in enumerate(classes)}
    known = {digest for digest, _ in contents["train"]}
    duplicates = {name: [file for digest, file in contents[name] if digest in known] for name in SPLITS[1:]}
    look, notes = images.look, []
    if look.fit != "keep" and not look.is_square:
        said = {"crop": "cut to the middle square", "pad": "padded with a border", "stretch": "stretched to one shape"}
        notes.append(f"images are {said[look.fit]}")
    if look.turned:
        notes.append(f"{look.turned:,} turned upright by their EXIF tag")
    if images.channels != look.shape[0]:
        notes.append("transparency is left out: every pixel is opaque")
    return DataSummary(
        (images.channels, *look.shape[1:]),
        values,
        counts,
        {**unused, **({DAMAGED: names} if names else {})},
        notes,
        {name: files for name, files in duplicates.items() if files},
    )


def _digest(splits: Mapping[SplitName, Files], root: Path) -> str:
    """Return the digest of names, classes and sizes, in which a study knows its data."""
    listing = hashlib.sha256()
    for name, files in splits.items():
        for file, label in files:
            listing.update(f"{name}/".encode() + os.fsencode(file.relative_to(root)))
            listing.update(f"/{label}/{size_and_time(file)[0]}\n".encode())
    return listing.hexdigest()


def _cache_key(splits: Mapping[SplitName, Files], fit: str) -> str:
    """Return the digest of paths, sizes and times: where one has changed, all are decoded again."""
    listing = hashlib.sha256(f"2 {fit}\n".encode())
    for name, files in splits.items():
        for file, _ in files:
            size, time_ns = size_and_time(file)
            listing.update(f"{name} {size} {time_ns} ".encode() + os.fsencode(file.absolute()) + b"\n")
    return listing.hexdigest()[:32]


IMAGE_FOLDER = Loader("image_folder", ImageFolderOptions, "path", _load)
