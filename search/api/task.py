"""Data that a program hands over as arrays."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

FOLDER = Path("paredown-out", "data")
"""Where the arrays of tasks are kept, relative to the working directory."""


@dataclass(frozen=True)
class Task:
    """Data to learn, for `run_study` and `compress`.

    Attributes:
        section: What a study file would say under `task`.
    """

    section: dict[str, Any]

    @classmethod
    def from_arrays(
        cls,
        train: tuple[ArrayLike, ArrayLike],
        validation: tuple[ArrayLike, ArrayLike],
        test: tuple[ArrayLike, ArrayLike],
        *,
        classes: Sequence[str] | None = None,
        flip: bool = False,
        crop: float = 0.0,
        folder: str | Path | None = None,
    ) -> "Task":
        """Return a task made of arrays.

        They are written to a file once, named by their content: workers read it, and so does whoever opens the study
        later.

        Args:
            train: Images and labels of training: `n x l` (signals), `n x h x w`, `n x h x w x c` or `n x c x h x w`, of
                any numbers; labels from 0.
            validation: The same for choosing among networks.
            test: The same for the accuracy that is reported with an exported model.
            classes: Names of the classes; None for their numbers.
            flip: Whether half of the training images are mirrored.
            crop: Share of the side by which training images are shifted at most.
            folder: Where the file goes; None for `paredown-out/data`.
        """
        splits = {"train": train, "validation": validation, "test": test}
        arrays: dict[str, Any] = {}
        for name, (images, labels) in splits.items():
            arrays |= {f"{name}_images": np.asarray(images), f"{name}_labels": np.asarray(labels)}
        if classes is not None:
            arrays["classes"] = np.array([str(one) for one in classes])
        file = _kept(arrays, Path(folder) if folder is not None else FOLDER)
        return cls({"name": "arrays", "options": {"path": str(file), "flip": flip, "crop": crop}})


def _kept(arrays: dict[str, Any], folder: Path) -> Path:
    """Write arrays to a file named by their content, unless it is there, and return its absolute path."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    file = folder.absolute() / f"{digest.hexdigest()[:16]}.npz"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as fresh:
            np.savez(Path(fresh, "arrays.npz"), **arrays)
            os.replace(Path(fresh, "arrays.npz"), file)
    return file
