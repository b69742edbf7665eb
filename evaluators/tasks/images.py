"""Images of a split: an array where they are few, else a file that all processes of a machine share.

Rows are read, resized and normalised by the batch, so that memory does not grow with the data.
"""

import json
import math
import mmap
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.tasks.resizing import Pixels, resized

IN_MEMORY_BYTES = 128 << 20
"""Images of a split that take no more are held as one array."""
BATCH = 256
"""Images that are worked on at once where all would be too many."""
MAPPED_BYTES = 64 << 20
"""Number of bytes read from a file after which their pages are given back to the system, which keeps them as cache."""

Rows = slice | NDArray[Any]
"""Which images: a slice, or their numbers."""


@dataclass(frozen=True)
class StoredSplit:
    """The images of a split in a file.

    Attributes:
        values: Values of the images, `n x c x h x w`, mapped: the file may be removed meanwhile.
        channels: Number of channels that count; further ones, such as a transparency that is opaque everywhere, do
            not.
        statistics: Beginning of the path of files that keep mean and deviation.
    """

    values: "np.memmap[Any, Any]"
    channels: int
    statistics: Path

    def at(self, height: int, width: int) -> "Images":
        """Return the images at a size: an array where it is small."""
        images = StoredImages(self, height, width)
        return images[:] if images.nbytes <= IN_MEMORY_BYTES else images


class StoredImages:
    """Images in a file, read and resized as they are asked for.

    Args:
        stored: Where they are.
        height: In pixels, as they are returned.
        width: In pixels, as they are returned.

    Attributes:
        shape: `n, c, h, w`.
        dtype: Type of the values.
    """

    def __init__(self, stored: StoredSplit, height: int, width: int) -> None:
        self._stored = stored
        self.shape = (len(stored.values), stored.channels, height, width)
        self.dtype = stored.values.dtype
        self._read = 0

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all images as they are returned."""
        return math.prod(self.shape) * int(self.dtype.itemsize)

    @property
    def statistics_file(self) -> Path:
        """Where mean and deviation are kept."""
        _, channels, height, width = self.shape
        path = self._stored.statistics
        return path.with_name(f"{path.name}-{channels}x{height}x{width}.json")

    def __getitem__(self, rows: Rows) -> Pixels:
        """Return some images as an array of their own."""
        found = np.array(self._stored.values[rows][:, : self.shape[1]])
        self._read += found.nbytes
        if self._read > MAPPED_BYTES and hasattr(mmap, "MADV_DONTNEED"):
            self._read = 0
            self._stored.values._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
        if found.shape[2:] == self.shape[2:]:
            return found
        images = np.empty((len(found), *self.shape[1:]), self.dtype)
        for at, image in enumerate(found):
            images[at] = resized(image, *self.shape[2:])
        return images


Images = NDArray[Any] | StoredImages
"""`n x c x h x w` as they are: uint8, uint16 or float32."""


def at_size(images: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Return images `n x c x h x w` resized; the array itself where nothing changes."""
    if images.shape[2:] == (height, width):
        return images
    return np.stack([resized(image, height, width) for image in images])


def channel_statistics(images: Images) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of each channel; those of a file are computed once."""
    if not isinstance(images, StoredImages):
        wide = None if images.dtype.kind == "u" else np.float64
        return images.mean(axis=(0, 2, 3), dtype=wide), images.std(axis=(0, 2, 3), dtype=wide)
    file = images.statistics_file
    if not file.exists():
        mean = sum(_part(images, i).sum((0, 2, 3)) for i in range(0, len(images), BATCH)) / _values_a_channel(images)
        squares = sum(
            ((_part(images, i) - mean[:, None, None]) ** 2).sum((0, 2, 3)) for i in range(0, len(images), BATCH)
        )
        found = {"mean": mean.tolist(), "std": np.sqrt(squares / _values_a_channel(images)).tolist()}
        with tempfile.TemporaryDirectory(prefix=".new-", dir=file.parent) as stage:
            Path(stage, "file").write_text(json.dumps(found))
            os.replace(Path(stage, "file"), file)
    found = json.loads(file.read_text())
    return np.array(found["mean"]), np.array(found["std"])


def _part(images: StoredImages, start: int) -> NDArray[np.float64]:
    return images[start : start + BATCH].astype(np.float64)


def _values_a_channel(images: StoredImages) -> int:
    n, _, height, width = images.shape
    return n * height * width
