"""Decoded images on disk, shared by all processes and studies of a user.

`PAREDOWN_CACHE` names the folder, `~/.cache/paredown` where it is not set; `PAREDOWN_CACHE_BYTES` bounds it. An entry
is a folder that is written beside its place and renamed, so that it is whole or not there. Where room is needed, the
entries that were not used for longest go; a process that still reads one keeps it until it ends.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paredown.evaluators.errors import TaskError

FOLDER_VARIABLE, BYTES_VARIABLE = "PAREDOWN_CACHE", "PAREDOWN_CACHE_BYTES"
MOST_BYTES = 64 << 30
"""Bound where the environment names none."""
FREE_BYTES = 1 << 30
"""Left free on the disk."""
UNFINISHED = ".new-"
ABANDONED_S = 24 * 3600.0
"""Age after which an unfinished entry is taken for one whose process was killed."""
INDEX_FILE, IMAGES_FILE = "index.json", "images.bin"


def cache_folder() -> Path:
    """Return the folder of decoded images."""
    named = os.environ.get(FOLDER_VARIABLE)
    return (Path(named) if named else Path.home() / ".cache" / "paredown") / "decoded"


def most_bytes() -> int:
    """Return how many bytes all entries may take.

    Raises:
        TaskError: The environment names no whole number.
    """
    named = os.environ.get(BYTES_VARIABLE)
    if named is None:
        return MOST_BYTES
    if not named.isdigit():
        raise TaskError(f"{BYTES_VARIABLE}: {named!r} is no number of bytes; allowed: a whole number such as {1 << 30}")
    return int(named)


def find(key: str) -> tuple[Path, dict[str, Any]] | None:
    """Return the folder of an entry and its index, and mark it as used; None where there is none."""
    folder = cache_folder() / key
    try:
        index: dict[str, Any] = json.loads((folder / INDEX_FILE).read_text())
        os.utime(folder)
    except (OSError, ValueError):
        return None
    return folder, index


@contextmanager
def new_entry(key: str, size_bytes: int) -> Iterator[Path]:
    """Make room, hand out an empty folder, and put it in its place when all went well.

    Args:
        key: Key of the entry.
        size_bytes: What its files will take at most.

    Raises:
        TaskError: The folder cannot be written, or there is no room.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _make_room(folder, size_bytes)
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=folder, ignore_cleanup_errors=True) as stage:
            fresh = Path(stage, "entry")
            fresh.mkdir()
            yield fresh
            if not (folder / key).exists():  # another process may have been as fast, with the same content
                os.replace(fresh, folder / key)
    except OSError as error:
        raise TaskError(
            f"decoded images cannot be kept in {folder} ({error}); {FOLDER_VARIABLE} names another folder"
        ) from error


def _make_room(folder: Path, size_bytes: int) -> None:
    bound = most_bytes()
    if size_bytes > bound:
        raise TaskError(
            f"the decoded images take {size_bytes / 1e9:.1f} GB, more than the {bound / 1e9:.1f} GB that {folder} may "
            f"hold; {BYTES_VARIABLE} sets another bound, images_per_class takes fewer"
        )
    entries = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for path in [path for path in entries if path.name.startswith(UNFINISHED)]:
        if time.time() - path.stat().st_mtime > ABANDONED_S:
            shutil.rmtree(path, ignore_errors=True)
    whole = [path for path in entries if not path.name.startswith(UNFINISHED)]
    sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in whole}
    while whole and (
        sum(sizes[path] for path in whole) + size_bytes > bound
        or shutil.disk_usage(folder).free < size_bytes + FREE_BYTES
    ):
        shutil.rmtree(whole.pop(0), ignore_errors=True)
    if (free := shutil.disk_usage(folder).free) < size_bytes:
        raise TaskError(
            f"the decoded images take {size_bytes / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB left; "
            f"{FOLDER_VARIABLE} names another folder"
        )
