"""Folders of images: `train/<class>/*`, `val/<class>/*` and, if there is one, `test/<class>/*`.

Without a test folder, half of the validation images of each class become the test set.
"""

import functools
import hashlib
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from sklearn.model_selection import train_test_split

from paredown.evaluators.errors import TaskError
from paredown.evaluators.tasks.resizing import squared
from paredown.evaluators.tasks.task import Augmentation, Loader, Split, SplitName, Task, sampled
from paredown.spaces.knob import Range

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
LARGEST_SIDE = 224
MULTIPLE = 4
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises on a file that is no image, or a damaged one."""


class ImageFolderOptions(BaseModel):
    """What a study file may say.

    Attributes:
        path: The folder that holds train/ and val/; relative to the study file.
        images_per_class: Maximum number of training images of each class; the other splits use a quarter as many.
        flip: Mirror half of the training images.
        crop: Shift training images by up to this share of their side.
        seed: Random seed of the subset and of the test split.
    """

    model_config = ConfigDict(extra="forbid")
    path: Path
    images_per_class: int | None = Field(default=None, ge=4)
    flip: bool = True
    crop: float = Field(default=0.125, ge=0, lt=0.5)
    seed: int = 0


Files = tuple[tuple[Path, int], ...]
"""Path and class of each image."""


def _load(options: ImageFolderOptions, folder: Path) -> Task:
    root = folder / options.path
    if not root.is_dir():
        raise TaskError(f"path: no folder {root}; it must hold train/ and val/ with a folder a class")
    classes = _classes(root / "train")
    splits = {"train": _files(root / "train", classes), "validation": _files(root / "val", classes)}
    if (root / "test").is_dir():
        splits["test"] = _files(root / "test", classes)
    else:
        splits["validation"], splits["test"] = _halves(splits["validation"], options.seed, root / "val")
    if options.images_per_class:
        few = max(1, options.images_per_class // 4)
        limits = {"train": options.images_per_class, "validation": few, "test": few}
        splits = {name: _subset(files, limits[name], options.seed) for name, files in splits.items()}
    mode, side = _look(splits)
    return Task(
        name="image_folder",
        classes=classes,
        channels=1 if mode == "L" else 3,
        resolutions=Range(MULTIPLE * 2, max(MULTIPLE * 2, side // MULTIPLE * MULTIPLE), MULTIPLE),
        load=functools.partial(_split, splits=splits, mode=mode),
        digest=_digest(splits, root),
        augmentation=Augmentation(options.flip, options.crop),
    )


def _classes(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise TaskError(f"path: no folder {folder}; it must hold a folder of images for each class")
    classes = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))
    if len(classes) < 2:
        raise TaskError(f"path: {folder} holds {len(classes)} class folders; at least 2 are needed")
    return classes


def _files(folder: Path, classes: tuple[str, ...]) -> Files:
    if not folder.is_dir():
        raise TaskError(f"path: no folder {folder}; it must hold a folder of images for each class")
    if unknown := {entry.name for entry in folder.iterdir() if entry.is_dir()} - set(classes):
        raise TaskError(f"path: {folder / sorted(unknown)[0]} is a class that train/ does not have")
    files = []
    for label, name in enumerate(classes):
        inside = sorted((folder / name).glob("*")) if (folder / name).is_dir() else []
        files += [(file, label) for file in inside if file.suffix.lower() in SUFFIXES]
    sampled(np.array([label for _, label in files], dtype=np.int64), classes, f"path: {folder}")
    return tuple(files)


def _halves(files: Files, seed: int, folder: Path) -> tuple[Files, Files]:
    labels = [label for _, label in files]
    if min(np.bincount(labels)) < 2:
        raise TaskError(f"path: {folder} needs 2 images of each class, since there is no test folder")
    first, second = train_test_split(np.arange(len(files)), test_size=0.5, stratify=labels, random_state=seed)
    return tuple(files[i] for i in sorted(first)), tuple(files[i] for i in sorted(second))


def _subset(files: Files, limit: int, seed: int) -> Files:
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    labels = np.array([label for _, label in files])
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        chosen += rng.permutation(rows)[:limit].tolist()
    return tuple(files[i] for i in sorted(chosen))


def _look(splits: dict[str, Files]) -> tuple[str, int]:
    """Open every image; return "L" where all are grey, else "RGB", and the median short side."""
    modes, sides = set(), []
    for files in splits.values():
        for file, _ in files:
            with _opened(file) as image:
                modes.add(image.mode)
                sides.append(min(image.size))
    mode = "L" if modes <= {"L", "1", "I;16", "I"} else "RGB"
    return mode, min(LARGEST_SIDE, int(np.median(sides)))


def _opened(file: Path) -> Image.Image:
    try:
        return Image.open(file)
    except UNREADABLE as error:
        raise TaskError(f"path: {file} is no image that can be read ({error}); remove or replace it") from error


def _split(name: SplitName, resolution: int, *, splits: dict[str, Files], mode: str) -> Split:
    images = []
    for file, _ in splits[name]:
        with _opened(file) as image:
            try:
                images.append(squared(image, resolution, mode))
            except UNREADABLE as error:  # truncated: the header was fine, the pixels are not
                raise TaskError(f"path: {file} is damaged ({error}); remove or replace it") from error
    return Split(np.stack(images), np.array([label for _, label in splits[name]], dtype=np.int64))


def _digest(splits: dict[str, Files], root: Path) -> str:
    listing = hashlib.sha256()
    for name, files in splits.items():
        for file, label in files:
            listing.update(f"{name}/{file.relative_to(root)}/{label}/{file.stat().st_size}\n".encode())
    return listing.hexdigest()


IMAGE_FOLDER = Loader("image_folder", ImageFolderOptions, "path", _load)
