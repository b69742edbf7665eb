"""Which files of a folder are images of which class and split, and which are not used."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from paredown.evaluators.errors import TaskError
from paredown.evaluators.tasks.image_file import EARLIER_SUFFIXES, suffixes
from paredown.evaluators.tasks.task import SplitName, sampled

Files = tuple[tuple[Path, int], ...]
"""Path and class of each image."""
SYSTEM_FOLDERS = {"__MACOSX", "$RECYCLE.BIN", "System Volume Information"}
SYSTEM_FILES = {"thumbs.db", "desktop.ini", "icon\r"}
SYSTEM, NO_IMAGE, NO_CLASS = "files of the system", "files of no image format", "files outside of a class folder"
LINK = "links to folders, which are not followed"


@dataclass(frozen=True)
class Listing:
    """The images of a folder.

    Attributes:
        classes: Names of the class folders.
        splits: Images of each split.
        unused: From reason to the files that are not used.
    """

    classes: tuple[str, ...]
    splits: Mapping[SplitName, Files]
    unused: Mapping[str, list[str]] = field(default_factory=dict)


def list_images(root: Path, seed: int, *, earlier: bool = False) -> Listing:
    """List `train/<class>`, `val/<class>` and, where it is there, `test/<class>`, at any depth.

    Args:
        root: Holds them.
        seed: Decides which half of the validation images become the test set where there is none.
        earlier: List what versions of before `fit` listed: some endings, at the top of each class folder.

    Raises:
        TaskError: A folder is missing, or a class has no image.
    """
    search = _Search(root, earlier)
    classes = search.classes(root / "train")
    if len(classes) < 2:
        raise TaskError(f"path: {root / 'train'} holds {len(classes)} class folders; at least 2 are needed")
    splits: dict[SplitName, Files] = {
        "train": search.files(root / "train", classes),
        "validation": search.files(root / "val", classes),
    }
    if (root / "test").is_dir():
        splits["test"] = search.files(root / "test", classes)
    else:
        splits["validation"], splits["test"] = _halves(splits["validation"], seed, root / "val")
    return Listing(classes, splits, search.unused)


def subset(files: Files, limit: int, seed: int) -> Files:
    """Return at most `limit` images of each class, drawn."""
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    labels = np.array([label for _, label in files])
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        chosen += rng.permutation(rows)[:limit].tolist()
    return tuple(files[i] for i in sorted(chosen))


def size_and_time(file: Path) -> tuple[int, int]:
    """Return bytes and time of change, in nanoseconds; zeros for a link to nothing, which cannot be decoded either."""
    try:
        stat = file.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


class _Search:
    def __init__(self, root: Path, earlier: bool) -> None:
        self._root, self._earlier = root, earlier
        self._endings = EARLIER_SUFFIXES if earlier else suffixes()
        self.unused: dict[str, list[str]] = {}

    def classes(self, folder: Path) -> tuple[str, ...]:
        """Return the names of the class folders of a split."""
        if not folder.is_dir():
            raise TaskError(f"path: no folder {folder}; it must hold a folder of images for each class")
        folders = [entry.name for entry in folder.iterdir() if entry.is_dir()]
        return tuple(sorted(name for name in folders if self._earlier or not is_of_system(name, is_folder=True)))

    def files(self, folder: Path, classes: tuple[str, ...]) -> Files:
        """Return the images of a split."""
        if unknown := set(self.classes(folder)) - set(classes):
            raise TaskError(f"path: {folder / sorted(unknown)[0]} is a class that train/ does not have")
        files = []
        for label, name in enumerate(classes):
            found = [file for file in self._inside(folder / name) if self._is_image(file)]
            files += [(file, label) for file in sorted(found)]
        for entry in sorted(folder.iterdir()):
            if entry.is_file():
                self._leave_out(SYSTEM if is_of_system(entry.name) else NO_CLASS, entry)
            elif is_of_system(entry.name, is_folder=True) and not self._earlier:
                self._leave_out(SYSTEM, entry)
        sampled(np.array([label for _, label in files], dtype=np.int64), classes, f"path: {folder}")
        return tuple(files)

    def _inside(self, folder: Path) -> Iterator[Path]:
        for at, folders, names in os.walk(folder):
            kept = [name for name in folders if not is_of_system(name, is_folder=True)]
            for name in set(folders) - set(kept):
                self._leave_out(SYSTEM, Path(at, name))
            for name in kept:
                if Path(at, name).is_symlink():
                    self._leave_out(LINK, Path(at, name))
            folders[:] = [] if self._earlier else kept
            yield from (Path(at, name) for name in names)

    def _is_image(self, file: Path) -> bool:
        if self._earlier:
            return file.suffix.lower() in self._endings
        if is_of_system(file.name):
            self._leave_out(SYSTEM, file)
        elif file.suffix.lower() not in self._endings:
            self._leave_out(NO_IMAGE, file)
        else:
            return True
        return False

    def _leave_out(self, reason: str, file: Path) -> None:
        self.unused.setdefault(reason, []).append(str(file.relative_to(self._root)))


def is_of_system(name: str, *, is_folder: bool = False) -> bool:
    """Tell what operating systems, file managers and notebooks leave behind; hidden files are among it."""
    known = name in SYSTEM_FOLDERS if is_folder else name.lower() in SYSTEM_FILES
    return known or name.startswith(".")


def _halves(files: Files, seed: int, folder: Path) -> tuple[Files, Files]:
    labels = [label for _, label in files]
    if min(np.bincount(labels)) < 2:
        raise TaskError(f"path: {folder} needs 2 images of each class, since there is no test folder")
    from sklearn.model_selection import train_test_split  # late: it takes a second to load

    first, second = train_test_split(np.arange(len(files)), test_size=0.5, stratify=labels, random_state=seed)
    return tuple(files[i] for i in sorted(first)), tuple(files[i] for i in sorted(second))
