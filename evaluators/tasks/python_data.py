"""What a function of the user's returned, checked: images as arrays of one type, labels as classes."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from paredown.evaluators.errors import TaskError
from paredown.evaluators.tasks.image_file import UNREADABLE, decoded_pixels, has_deep_colours, in_8_bits, with_channels
from paredown.evaluators.tasks.resizing import Pixels
from paredown.evaluators.tasks.task import SPLITS, SplitName

Layout = Literal["auto", "first", "last"]
"""Where the channels of an array of three axes are."""
MOST_CHANNELS = 4
"""Largest number of entries of a last axis that is taken for channels."""
EXACT = 1e-4
"""Floats that are this near to multiples of 1/255 are 8 bits that were divided by 255."""
NO_CLASSES = (
    "a label is the number of one class; numbers to predict, several classes an image and pairs are not supported, and "
    "one-hot rows become classes by argmax"
)


@dataclass(frozen=True)
class Arrays:
    """Images of each split, of one type and one number of channels.

    Attributes:
        images: `n x c x h x w`, or a list of `c x h x w` where sizes differ.
        is_exact_in_8_bits: Whether 8 bits of grey or colour hold all that was given.
    """

    images: Mapping[SplitName, NDArray[Any] | list[Pixels]]
    is_exact_in_8_bits: bool


def rows_of(data: Any, where: str) -> tuple[Sequence[Any] | NDArray[Any], Any]:
    """Return images and labels of a split.

    Raises:
        TaskError: It is neither a pair of arrays nor a sequence of pairs.
    """
    if isinstance(data, tuple) and len(data) == 2 and hasattr(data[0], "shape"):
        return np.asarray(data[0]), np.asarray(data[1])
    try:
        rows = [data[i] for i in range(len(data))]
        return [row[0] for row in rows], [row[1] for row in rows]
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise TaskError(f"{where}: neither (images, labels) nor a sequence of (image, label): {error}") from error


def read_labels(labels: Any, count: int, where: str) -> NDArray[np.int64]:
    """Return the classes of images.

    Raises:
        TaskError: Labels are no classes: floats, several numbers an image, texts or negative numbers.
    """
    try:
        array = labels if isinstance(labels, np.ndarray) else np.asarray([np.asarray(label) for label in labels])
    except ValueError as error:
        raise TaskError(f"{where}: labels of different shapes; {NO_CLASSES}") from error
    if not count or array.shape != (count,):
        raise TaskError(
            f"{where}: {count} images and labels of shape {array.shape}; needed: a label an image; {NO_CLASSES}"
        )
    if array.dtype == np.bool_:
        array = array.astype(np.int64)
    if not np.issubdtype(array.dtype, np.integer):
        example = f" such as {array[0]}" if array.dtype.kind in "fUO" else ""
        raise TaskError(f"{where}: labels must be integers from 0; got {array.dtype}{example}; {NO_CLASSES}")
    if array.min() < 0:
        raise TaskError(f"{where}: labels must be integers from 0; got {array.min()}")
    return array.astype(np.int64)


def read_pixels(
    images: Sequence[Any] | NDArray[Any], where: str, layout: Layout, *, earlier: bool
) -> NDArray[Any] | list[NDArray[Any]]:
    """Return images as `n x c x h x w`, or as a list of `c x h x w` where sizes differ, of the type they have.

    Args:
        images: An array, or images by themselves.
        where: How messages name them.
        layout: Where the channels of arrays are.
        earlier: Read PIL images in 8 bits, without transparency.

    Raises:
        TaskError: An image holds no finite numbers, or has a shape that none has.
    """
    if isinstance(images, np.ndarray):
        _check(images, images.shape[1:], where)
        return _channels_first(images, layout)
    read = [_read(image, where, layout, earlier=earlier) for image in images]
    alike = len({(image.shape, image.dtype) for image in read}) == 1
    return np.stack(read) if alike else read


def _read(image: Any, where: str, layout: Layout, *, earlier: bool) -> NDArray[Any]:
    if isinstance(image, Image.Image):
        if not earlier and has_deep_colours(image):
            raise TaskError(f"{where}: an image has colours of 16 bits; needed: colours of 8 bits, grey, or an array")
        try:
            pixels = decoded_pixels(image)
        except UNREADABLE as error:
            raise TaskError(f"{where}: an image is damaged ({error})") from error
        return in_8_bits(pixels, 1 if len(pixels) < 3 else 3) if earlier else pixels
    array = np.asarray(image)
    _check(array, array.shape, where)
    return np.asarray(_channels_first(array[None], layout)[0])


def _check(array: NDArray[Any], shape: tuple[int, ...], where: str) -> None:
    if array.dtype.kind not in "buif" or not array.size:
        raise TaskError(f"{where}: an image is {array.dtype} of shape {shape}; needed: numbers, at least one")
    if len(shape) not in (1, 2, 3):
        raise TaskError(f"{where}: an image has shape {shape}; allowed: l, h x w, c x h x w, h x w x c")
    if not np.isfinite(array).all():
        raise TaskError(f"{where}: an image has values that are not finite")


def _channels_first(images: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Return `n x c x h x w` for `n x l`, `n x h x w`, `n x c x h x w` and `n x h x w x c`."""
    if images.ndim == 2:
        return images[:, None, None]
    if images.ndim == 3:
        return images[:, None]
    first, last = images.shape[1], images.shape[3]
    if layout == "auto":
        is_last = first not in (1, 3) and (last in (1, 3) or last <= MOST_CHANNELS < first)
    else:
        is_last = layout == "last"
    return images.transpose(0, 3, 1, 2) if is_last else images


def unified(pixels: Mapping[SplitName, NDArray[Any] | list[NDArray[Any]]], where: str, *, earlier: bool) -> Arrays:
    """Return the images of all splits with one number of channels and one type: uint8, uint16 or float32.

    Raises:
        TaskError: They do not come to one.
    """
    typed = {name: _typed(images, f"{where}: {name}", earlier=earlier) for name, images in pixels.items()}
    kinds = {str(image.dtype) for images in typed.values() for image in _firsts(images)}
    if len(kinds) > 1:
        if "float32" in kinds:
            raise TaskError(f"{where}: images have values of different types: {', '.join(sorted(kinds))}")
        typed = {name: _each(images, lambda image: image.astype(np.uint16)) for name, images in typed.items()}
    counts = {image.shape[0] for images in typed.values() for image in _firsts(images)}
    if len(counts) > 1:
        if kinds != {"uint8"} or max(counts) > MOST_CHANNELS:
            raise TaskError(
                f"{where}: images have {' and '.join(map(str, sorted(counts)))} channels; needed: one number"
            )
        wanted = max(c - (c in (2, 4)) for c in counts) + bool(counts & {2, 4})
        wanted = next(iter(_firsts(typed["train"]))).shape[0] if earlier else wanted
        typed = {name: _each(images, lambda image: with_channels(image, wanted)) for name, images in typed.items()}
    return Arrays(typed, kinds == {"uint8"})


def _firsts(images: NDArray[Any] | list[Pixels]) -> Sequence[Any]:
    """Return what stands for all images of a split: one where they are alike."""
    return [images[0]] if isinstance(images, np.ndarray) else images


def _each(images: NDArray[Any] | list[Pixels], change: Any) -> NDArray[Any] | list[Pixels]:
    changed = [change(image) for image in images]
    return np.stack(changed) if len({image.shape for image in changed}) == 1 else changed


def _typed(images: NDArray[Any] | list[NDArray[Any]], where: str, *, earlier: bool) -> NDArray[Any] | list[Pixels]:
    parts = [images] if isinstance(images, np.ndarray) else images
    low, high = min(part.min() for part in parts), max(part.max() for part in parts)
    floats = {part.dtype.kind == "f" for part in parts}
    if floats == {True, False}:
        raise TaskError(f"{where}: some images are floats and some integers; needed: one type")
    if True in floats:
        in_unit = low >= 0 and high <= 1
        if earlier and not in_unit:
            raise TaskError(f"{where}: floats must lie in 0 to 1 with fit: earlier; found {low:g} to {high:g}")
        if in_unit and (earlier or all(_is_exact(part) for part in parts)):
            return _converted(images, lambda part: np.round(part * 255).astype(np.uint8))
        return _converted(images, lambda part: part.astype(np.float32))
    if low >= 0 and high <= 255:
        return _converted(images, lambda part: part.astype(np.uint8))
    if earlier:
        raise TaskError(f"{where}: integers must lie in 0 to 255 with fit: earlier; found {low} to {high}")
    if low >= 0 and high <= 65535:
        return _converted(images, lambda part: part.astype(np.uint16))
    return _converted(images, lambda part: part.astype(np.float32))


def _converted(images: NDArray[Any] | list[NDArray[Any]], convert: Any) -> NDArray[Any] | list[Pixels]:
    converted: NDArray[Any] | list[Pixels]
    converted = convert(images) if isinstance(images, np.ndarray) else [convert(image) for image in images]
    return converted


def _is_exact(values: NDArray[Any]) -> bool:
    scaled = values * 255
    return bool((np.abs(scaled - np.round(scaled)) <= EXACT * 255).all())


def content_digest(arrays: Arrays, labels: Mapping[SplitName, NDArray[np.int64]]) -> str:
    """Return the digest of images and labels; of 8 bits in grey or colour, the one that earlier versions took."""
    content = hashlib.sha256()
    for name in SPLITS:
        content.update(labels[name].tobytes())
        for image in arrays.images[name]:
            if image.dtype != np.uint8 or len(image) not in (1, 3):
                content.update(f"{image.dtype} {image.shape}".encode())
            content.update(np.ascontiguousarray(image.transpose(1, 2, 0)).tobytes())
    return content.hexdigest()
