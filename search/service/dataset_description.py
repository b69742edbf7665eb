"""What an unpacked data set is, as `paredown data check` says it, with some of its images."""

from pathlib import Path
from typing import Any

import numpy as np

from paredown.evaluators.errors import TaskError
from paredown.evaluators.tasks.contact_sheet import png_of
from paredown.evaluators.tasks.spec import load_task
from paredown.evaluators.tasks.task import Task, split_at
from paredown.search.errors import ConfigError
from paredown.search.service.dataset_places import images_folder, thumbnail_file
from paredown.search.study_file.sections import TaskSection
from paredown.search.study_file.setup import task_spec

THUMBNAILS = 4
"""Maximum number of thumbnails of each class."""


def described(folder: Path) -> dict[str, Any]:
    """Decode the images of a data set, write thumbnails, and return what it is.

    Args:
        folder: Folder of the data set.

    Raises:
        ConfigError: No study can use it.
    """
    root = images_folder(folder)
    section = TaskSection(name="image_folder", shorthand=str(root))
    try:
        task = load_task(task_spec(section, "data set", Path()))
    except TaskError as error:  # without the places of this machine
        raise ConfigError(str(error).removeprefix("path: ").replace(f"{root}/", "")) from None
    assert task.summary is not None, "an image folder has one"
    return {"classes": list(task.classes), "thumbnails": _write_thumbnails(task, folder), **task.summary().to_json()}


def pictures(task: Task, label: int) -> list[bytes]:
    """Return some training images of a class as PNG files."""
    split = split_at(task, "train", int(task.resolutions.high))
    rows = np.flatnonzero(split.labels == label)
    chosen = rows[np.linspace(0, len(rows) - 1, min(THUMBNAILS, len(rows))).astype(int)]
    return [png_of(image, task.values) for image in split.images[chosen]]


def _write_thumbnails(task: Task, folder: Path) -> dict[str, int]:
    """Write some training images of each class, and return their number."""
    written = {}
    for label, name in enumerate(task.classes):
        found = pictures(task, label)
        for number, picture in enumerate(found):
            file = thumbnail_file(folder, label, number)
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(picture)
        written[name] = len(found)
    return written
