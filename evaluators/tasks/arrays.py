"""A task from a file of arrays: `arrays: data.npz`."""

from pathlib import Path

import numpy as np

from paredown.evaluators.errors import TaskError
from paredown.evaluators.tasks.array_options import ArrayOptions
from paredown.evaluators.tasks.python import task_of
from paredown.evaluators.tasks.task import SPLITS, Loader, Task


class ArraysOptions(ArrayOptions):
    """What a study file may say.

    Attributes:
        path: File that NumPy's `savez` wrote, with `train_images`, `train_labels`, the same for `validation` and
            `test`, and perhaps `classes`, their names.
    """

    path: str


def _load(options: ArraysOptions, folder: Path) -> Task:
    file = folder / options.path
    wanted = [f"{split}_{part}" for split in SPLITS for part in ("images", "labels")]
    try:
        with np.load(file, allow_pickle=False) as stored:
            if missing := [name for name in wanted if name not in stored]:
                raise TaskError(f"path: {file} has no array {missing[0]!r}; needed: {', '.join(wanted)}")
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError) as error:
        raise TaskError(f"path: {file} cannot be read as a file of NumPy's savez: {error}") from error
    splits = {split: (arrays[f"{split}_images"], arrays[f"{split}_labels"]) for split in SPLITS}
    given = splits | ({"classes": arrays["classes"].tolist()} if "classes" in arrays else {})
    return task_of(given, "arrays", f"path: {file}", options)


ARRAYS = Loader("arrays", ArraysOptions, "path", _load)
