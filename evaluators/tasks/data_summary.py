"""What a task's data is, in numbers: what a person should know before a night is spent on it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHOWN = 3
"""Names that a message lists; of more it says how many."""


@dataclass(frozen=True)
class DataSummary:
    """The data of a task.

    Attributes:
        shape: Channels, height and width of one input as the data has it.
        values: Type and range of the values, in words.
        counts: From split to the number of images of each class.
        unused: From reason to the files that are not used.
        notes: What was dropped or changed, a sentence each.
        duplicates: From `validation` and `test` to the names of images that are in train, too.
    """

    shape: tuple[int, int, int]
    values: str
    counts: Mapping[str, Mapping[str, int]]
    unused: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    duplicates: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """All of it in one line."""
        splits = ", ".join(f"{name} {sum(classes.values()):,}" for name, classes in self.counts.items())
        train = self.counts["train"]
        smallest = min(train, key=lambda name: train[name])
        parts = [
            f"{splits} images in {len(train)} classes",
            f"smallest class {smallest!r} with {train[smallest]:,} of train",
            *self._further,
        ]
        return "data: " + "; ".join(parts)

    @property
    def lines(self) -> list[str]:
        """What a table of the counts leaves out, a line each."""
        return self._further

    def to_json(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return asdict(self)

    @property
    def _further(self) -> list[str]:
        parts = [f"one input is {' x '.join(map(str, self.shape))} ({self.values})"]
        parts += [f"not used: {len(files):,} {reason} ({listed(files)})" for reason, files in self.unused.items()]
        parts += [
            f"{len(names):,} of {name} are also in train ({listed(names)})" for name, names in self.duplicates.items()
        ]
        return [*parts, *self.notes]


def listed(names: Sequence[str], shown: int = SHOWN) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def summary_of(
    images: Mapping[Any, NDArray[Any]], labels: Mapping[Any, NDArray[np.int64]], classes: tuple[str, ...], values: str
) -> DataSummary:
    """Return the summary of arrays.

    Args:
        images: `n x c x h x w`, by split.
        labels: Their classes, by split.
        classes: Names of the classes.
        values: Type and range of the values, in words.
    """
    counts = {
        name: dict(zip(classes, np.bincount(own, minlength=len(classes)).tolist(), strict=True))
        for name, own in labels.items()
    }
    known = {_content(image) for image in images["train"]}
    again = {
        name: [f"number {at}" for at, image in enumerate(own) if _content(image) in known]
        for name, own in images.items()
        if name != "train"
    }
    _, channels, height, width = images["train"].shape
    duplicates = {name: found for name, found in again.items() if found}
    return DataSummary((channels, height, width), values, counts, duplicates=duplicates)


def _content(image: NDArray[Any]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=16).digest()
