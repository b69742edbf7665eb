"""From values as they are to what a network takes: zero mean and unit deviation over the training images."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.tasks.images import BATCH, Images, Rows, channel_statistics

NORMALISED_BYTES = 256 << 20
"""Inputs that take no more are normalised at once, others by the batch."""
BATCH_BYTES = 32 << 20
"""Inputs of one batch take no more; what a network makes of them takes several times that."""
LEAST_STD, LEAST_STD_OF_OTHERS = 1e-3, 1e-9
"""Least deviation that is divided by, on the scale of 0 to 1: of 8 bits, and of values of any other range."""


@dataclass(frozen=True)
class ValueRange:
    """What values of the data mean.

    Attributes:
        low: What counts as 0.
        high: What counts as 1.
        dtype: Type in which they are kept: uint8, uint16 or float32.
    """

    low: float = 0.0
    high: float = 255.0
    dtype: str = "uint8"

    def __str__(self) -> str:
        return f"{self.dtype}, {self.low:g} to {self.high:g}"


EIGHT_BITS = ValueRange()


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of the training images, one a channel, on the scale of a range as 0 to 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: float = 0.0
    high: float = 255.0

    def __call__(self, images: Images) -> NDArray[np.float32]:
        """Return `n x c x h x w` with zero mean and unit deviation over the training set."""
        shape = (1, -1, 1, 1)
        mean = np.asarray(self.mean, dtype=np.float32).reshape(shape)
        std = np.asarray(self.std, dtype=np.float32).reshape(shape)
        values = images[:].astype(np.float32)
        if self.low:
            values -= np.float32(self.low)
        values /= np.float32(self.high - self.low)  # in place: images may be large
        values -= mean
        values /= std
        return values

    def inputs(self, images: Images) -> "Inputs":
        """Return the images normalised: an array where it is small, else rows that are normalised when asked for."""
        size = math.prod(images.shape) * np.dtype(np.float32).itemsize
        return self(images) if size <= NORMALISED_BYTES else NormalisedImages(images, self)


class NormalisedImages:
    """Images that are normalised as they are asked for.

    Args:
        images: As they are.
        normalise: What to do to them.

    Attributes:
        shape: `n, c, h, w`.
    """

    def __init__(self, images: Images, normalise: Normalisation) -> None:
        self._images, self._normalise = images, normalise
        self.shape = images.shape

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, rows: Rows) -> NDArray[np.float32]:
        """Return some images as an array of their own."""
        return self._normalise(self._images[rows])


Inputs = NDArray[np.float32] | NormalisedImages
"""Normalised images, `n x c x h x w`."""


def largest_batch(shape: tuple[int, ...]) -> int:
    """Return how many images of `n x c x h x w` go through a network at once, so that large ones do not take much."""
    return max(1, min(BATCH, BATCH_BYTES // (math.prod(shape[1:]) * np.dtype(np.float32).itemsize)))


def normalisation_of(images: Images, values: ValueRange) -> Normalisation:
    """Return the normalisation that training images give.

    Args:
        images: Training images.
        values: Their range.
    """
    mean, std = channel_statistics(images)
    span = values.high - values.low
    mean, std = (mean - values.low) / span, std / span
    if values == EIGHT_BITS:
        return Normalisation(
            tuple(round(float(m), 6) for m in mean), tuple(max(round(float(s), 6), LEAST_STD) for s in std)
        )
    deviations = (float(s) if s > LEAST_STD_OF_OTHERS else 1.0 for s in std)
    return Normalisation(tuple(float(m) for m in mean), tuple(deviations), values.low, values.high)
