"""One image file: which files are images, and from a file to pixels as they are."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from paredown.evaluators.errors import TaskError
from paredown.evaluators.tasks.resizing import Pixels

UNREADABLE = (OSError, SyntaxError, ValueError, TypeError, OverflowError, MemoryError, Image.DecompressionBombError)
"""What Pillow raises on a file that is no image, or a damaged one."""
NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
"""Formats that Pillow names but decodes with other programs only."""
EARLIER_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
"""What was looked for in studies of before `fit`."""
ORIENTATION = 0x0112
"""EXIF tag that says how the camera was held."""
GREYS_16 = {"I;16", "I;16L", "I;16B", "I;16N"}
WITH_ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}
GREYS = {"1", "L", "LA", "La"}


@functools.cache
def suffixes() -> frozenset[str]:
    """Return the endings of the files that Pillow decodes, in lower case."""
    Image.init()
    return frozenset(
        ending
        for ending, kind in Image.registered_extensions().items()
        if kind in Image.OPEN and kind not in NOT_DECODED
    )


class DamagedImage(TaskError):
    """A file is no image, or its pixels cannot be decoded."""


@contextmanager
def opened(file: Path) -> Iterator[Image.Image]:
    """Open an image whose pixels are not decoded yet.

    Raises:
        DamagedImage: It is no image.
    """
    try:
        image = Image.open(file)
    except UNREADABLE as error:
        raise DamagedImage(f"{file} is no image that can be read ({error})") from error
    with image:
        yield image


def is_turned(image: Image.Image) -> bool:
    """Return whether a tag says that the pixels do not stand upright."""
    try:
        return image.getexif().get(ORIENTATION, 1) in range(2, 9)
    except UNREADABLE:  # a damaged tag says nothing
        return False


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return height and width as the picture stands upright."""
    try:
        sideways = image.getexif().get(ORIENTATION, 1) in range(5, 9)
    except UNREADABLE:
        sideways = False
    width, height = image.size
    return (width, height) if sideways else (height, width)


def has_deep_colours(image: Image.Image) -> bool:
    """Return whether the file of an image just opened has colours of 16 bits, of which Pillow decodes the upper 8."""
    return image.mode not in GREYS_16 and any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def has_alpha(image: Image.Image) -> bool:
    """Return whether pixels may be transparent."""
    return image.mode in WITH_ALPHA or "transparency" in image.info


def decoded(file: Path, image: Image.Image, *, upright: bool = True) -> Pixels:
    """Return the pixels of an opened image as they are: `c x h x w` of uint8, uint16 or float32.

    Grey has 1 channel, colour 3, and transparency adds one.

    Args:
        file: How messages name it.
        image: Just opened.
        upright: Whether to turn it as its tag says.

    Raises:
        DamagedImage: The pixels cannot be decoded, or are no finite numbers.
    """
    try:
        array = decoded_pixels(image, upright=upright)
    except UNREADABLE as error:  # truncated: the header was fine, the pixels are not
        raise DamagedImage(f"{file} is damaged ({error})") from error
    if array.dtype == np.float32 and not np.isfinite(array).all():
        raise DamagedImage(f"{file} is damaged (it has values that are not finite)")
    return array


def decoded_pixels(image: Image.Image, *, upright: bool = True) -> Pixels:
    """Return the pixels of an image as they are, as `decoded` does; errors are Pillow's."""
    image.load()
    if upright and is_turned(image):
        image = ImageOps.exif_transpose(image)
    if image.mode in GREYS_16:
        return np.asarray(image).astype(np.uint16)[None]
    if image.mode in {"I", "F"}:
        return np.asarray(image).astype(np.float32)[None]
    mode = ("LA" if image.mode in GREYS else "RGBA") if has_alpha(image) else "L" if image.mode in GREYS else "RGB"
    pixels = np.asarray(image if image.mode == mode else image.convert(mode), dtype=np.uint8)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def in_8_bits(pixels: Pixels, channels: int) -> NDArray[np.uint8]:
    """Return an image in 8 bits and of 1 or 3 channels, as studies of before `fit` saw it: alpha is dropped."""
    if pixels.dtype != np.uint8:
        pixels = (pixels.clip(0, 65535) // 256).astype(np.uint8)
    return with_channels(pixels[: 1 if len(pixels) < 3 else 3], channels).astype(np.uint8)


def with_channels(pixels: Pixels, channels: int) -> Pixels:
    """Return an image with the channels of its task.

    Grey becomes colour, colour becomes grey, and what has no transparency is opaque; transparency that the task does
    not have is dropped.

    Args:
        pixels: Pixels of 1 (grey), 2 (grey, alpha), 3 (colour) or 4 (colour, alpha) channels.
        channels: The same numbers.
    """
    if len(pixels) == channels:
        return pixels
    alpha = pixels[-1:] if len(pixels) in (2, 4) else np.full_like(pixels[:1], 255)
    colours = pixels[: len(pixels) - (len(pixels) in (2, 4))]
    wanted = channels - (channels in (2, 4))
    if len(colours) < wanted:
        colours = np.repeat(colours, 3, 0)
    elif len(colours) > wanted:
        grey = Image.fromarray(np.ascontiguousarray(colours.transpose(1, 2, 0))).convert("L")
        colours = np.asarray(grey, dtype=np.uint8)[None]
    return np.concatenate((colours, alpha)) if channels in (2, 4) else colours
