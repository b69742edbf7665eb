"""Decode every image file once, into the cache of decoded images.

What all images have in common is known from their headers: whether they are grey, colour or transparent, of 8 or 16
bits or floats, and their median size. Then every file is decoded, brought to one size and written. Files that cannot
be decoded are named, all at once.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from paredown.evaluators.errors import TaskError
from paredown.evaluators.tasks import decoded_cache
from paredown.evaluators.tasks.decoded_cache import IMAGES_FILE, INDEX_FILE
from paredown.evaluators.tasks.image_file import (
    DamagedImage,
    decoded,
    has_alpha,
    has_deep_colours,
    in_8_bits,
    is_turned,
    opened,
    upright_size,
    with_channels,
)
from paredown.evaluators.tasks.resizing import Fit, Pixels, fitted
from paredown.evaluators.tasks.watching import tell_images

LARGEST_SIDE = 224
"""Images are kept at most as large as a square of this side, in pixels."""
ALIKE = 0.02
"""Aspects that differ by less are taken for one."""
CHUNK = 256
"""Files that are decoded before the next ones are begun."""

AnyFit = Literal["auto", "crop", "pad", "stretch", "keep", "earlier"]
"""What a study file may say: `auto` is `keep` where all images have one aspect, else `pad`.

`earlier` is how versions of before this option read images: the middle square, in 8 bits, not turned upright.
"""


@dataclass(frozen=True)
class Header:
    """What a file says of its image before it is decoded.

    Attributes:
        kind: Type of its values: uint8, uint16 or float32.
        channels: 1 for grey, 3 for colour, one more where it may be transparent.
        height: Height of the upright image, in pixels.
        width: Width of the upright image, in pixels.
        is_turned: Whether a tag says that it is not stored upright.
    """

    kind: str
    channels: int
    height: int
    width: int
    is_turned: bool


@dataclass(frozen=True)
class Look:
    """What the images of a folder have in common.

    Attributes:
        dtype: Type in which they are kept.
        shape: Channels, height and width in which they are kept.
        fit: How each comes to that shape.
        earlier: Whether all is read as versions of before `fit` did.
        is_square: Whether every image is a square.
        turned: Number of images that are not stored upright.
    """

    dtype: str
    shape: tuple[int, int, int]
    fit: Fit
    earlier: bool
    is_square: bool
    turned: int


@dataclass(frozen=True)
class Decoded:
    """Images in the cache.

    Attributes:
        folder: The entry.
        look: What they have in common.
        counts: Number of images, by split, as they lie one after the other in the file.
        damaged: Number, in order of the listing, and reason of each image that could not be decoded.
        lowest: Smallest value; of floats, in the training split.
        highest: Largest value; of floats, in the training split.
        opaque: Whether no pixel is transparent, where there is transparency at all.
        digests: Digest of the content of each image that was decoded.
    """

    folder: Path
    look: Look
    counts: Mapping[str, int]
    damaged: Mapping[int, str]
    lowest: float
    highest: float
    opaque: bool
    digests: Sequence[str]

    @property
    def channels(self) -> int:
        """Number of channels that count."""
        channels = self.look.shape[0]
        return channels - 1 if channels in (2, 4) and self.opaque else channels


def read_header(file: Path, *, earlier: bool) -> Header:
    """Return what a file says of its image.

    Raises:
        DamagedImage: It is no image.
    """
    with opened(file) as image:
        deep = not earlier and has_deep_colours(image)  # asked first: reading a tag may decode the pixels
        width, height = image.size
        turned = not earlier and is_turned(image)
        if not earlier:
            height, width = upright_size(image)
        kind = "uint16" if image.mode.startswith("I;16") else "float32" if image.mode in {"I", "F"} else "uint8"
        grey = image.mode in {"1", "L", "LA", "La", "I", "F"} or kind == "uint16"
        kind = "uint16" if deep else kind
        alpha = not earlier and kind == "uint8" and has_alpha(image)
        return Header(kind, (1 if grey else 3) + alpha, height, width, turned)


def decode(splits: Mapping[Any, Sequence[tuple[Path, int]]], fit: AnyFit, key: str) -> Decoded:
    """Return the decoded images of files, from the cache where they are there.

    Args:
        splits: Files of each split.
        fit: As the study file says.
        key: Digest of the content of the files and of the option.

    Raises:
        TaskError: The images have nothing in common that they could be kept as, or there is no room for them.
    """
    found = decoded_cache.find(key)
    if found is None:
        _write(splits, fit, key)
        found = decoded_cache.find(key)
        assert found is not None, "it was just written"
    folder, index = found
    look = Look(**(index.pop("look") | {"shape": tuple(index["shape"])}))
    damaged = {int(number): reason for number, reason in index["damaged"].items()}
    del index["shape"]
    return Decoded(folder, look, **(index | {"damaged": damaged}))


def _write(splits: Mapping[Any, Sequence[tuple[Path, int]]], fit: AnyFit, key: str) -> None:
    files = [file for part in splits.values() for file, _ in part]
    ends = np.cumsum([len(part) for part in splits.values()])
    damaged: dict[int, str] = {}
    headers: dict[int, Header] = {}
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        for number, header in enumerate(_in_order(pool, lambda f: _header(f, fit), files, "looking at images")):
            if isinstance(header, Header):
                headers[number] = header
            else:
                damaged[number] = header
        if not headers:
            raise TaskError(f"path: none of {len(files)} images can be read: {next(iter(damaged.values()))}")
        look = _common(files, headers, fit)
        numbers = sorted(headers)
        size = len(numbers) * math.prod(look.shape) * np.dtype(look.dtype).itemsize
        with decoded_cache.new_entry(key, size) as folder, (folder / IMAGES_FILE).open("wb") as target:
            counts, digests = dict.fromkeys(splits, 0), []
            lowest, highest, least_alpha = math.inf, -math.inf, math.inf
            pixels_of = _in_order(pool, lambda n: _pixels(files[n], look), numbers, "decoding images")
            for number, pixels in zip(numbers, pixels_of, strict=True):
                if isinstance(pixels, str):
                    damaged[number] = pixels
                    continue
                split = list(splits)[int(np.searchsorted(ends, number, side="right"))]
                counts[split] += 1
                if look.shape[0] in (2, 4):
                    least_alpha = min(least_alpha, float(pixels[-1].min()))
                if split == "train" or look.dtype != "float32":
                    lowest, highest = min(lowest, float(pixels.min())), max(highest, float(pixels.max()))
                content = np.ascontiguousarray(pixels).tobytes()
                digests.append(hashlib.sha256(content).hexdigest()[:32])
                target.write(content)
            index = {
                "look": {name: value for name, value in asdict(look).items() if name != "shape"},
                "shape": look.shape,
                "counts": counts,
                "damaged": dict(sorted(damaged.items())),
                "lowest": lowest if math.isfinite(lowest) else 0.0,
                "highest": highest if math.isfinite(highest) else 0.0,
                "opaque": least_alpha >= 255,
                "digests": digests,
            }
            (folder / INDEX_FILE).write_text(json.dumps(index))


def _in_order(pool: ThreadPoolExecutor, work: Any, items: Sequence[Any], what: str) -> Iterator[Any]:
    """Yield what comes of each item; a chunk at once, so that results do not pile up."""
    tell_images(what, 0, len(items))
    for start in range(0, len(items), CHUNK):
        chunk = items[start : start + CHUNK]
        yield from pool.map(work, chunk)
        tell_images(what, start + len(chunk), len(items))


def _header(file: Path, fit: AnyFit) -> Header | str:
    try:
        return read_header(file, earlier=fit == "earlier")
    except DamagedImage as error:
        return str(error)


def _pixels(file: Path, look: Look) -> Pixels | str:
    channels, height, width = look.shape
    try:
        with opened(file) as image:
            pixels = decoded(file, image, upright=not look.earlier)
        pixels = in_8_bits(pixels, channels) if look.earlier else with_channels(pixels, channels)
        return fitted(pixels.astype(look.dtype), height, width, look.fit)
    except DamagedImage as error:
        return str(error)


def _common(files: Sequence[Path], headers: Mapping[int, Header], fit: AnyFit) -> Look:
    """Return what the images have in common.

    Raises:
        TaskError: Some have 8 bits and some more, or `keep` is asked for and aspects differ.
    """
    earlier = fit == "earlier"
    found = list(headers.values())
    kinds = {header.kind: number for number, header in headers.items()}
    if len(kinds) > 1 and not earlier:
        examples = " and ".join(f"{files[number]} ({kind})" for kind, number in kinds.items())
        raise TaskError(f"path: images have values of different types: {examples}; convert them to one")
    coloured = next((number for number, header in headers.items() if header.channels != 1), None)
    if "uint8" not in kinds and not earlier and coloured is not None:
        raise TaskError(f"path: images of more than 8 bits must be grey; {files[coloured]} has colours: convert it")
    colours = max(header.channels - (header.channels in (2, 4)) for header in found)
    channels = colours + any(header.channels in (2, 4) for header in found)
    dtype = "uint8" if earlier else next(iter(kinds))
    is_square = all(header.height == header.width for header in found)
    settled = settled_fit(fit, [(header.height, header.width) for header in found])
    if fit == "keep" and not _have_one_aspect([(header.height, header.width) for header in found]):
        by_aspect = sorted(headers, key=lambda n: headers[n].height / headers[n].width)
        first, last = by_aspect[0], by_aspect[-1]
        raise TaskError(
            f"fit: keep needs images of one aspect; {files[first]} has {headers[first].height} x {headers[first].width}"
            f" px, {files[last]} {headers[last].height} x {headers[last].width}; allowed: crop, pad, stretch"
        )
    sides = native_size([(header.height, header.width) for header in found], settled)
    turned = sum(header.is_turned for header in found)
    return Look(dtype, (channels, *sides), settled, earlier, is_square, turned)


def settled_fit(fit: AnyFit, sizes: Sequence[tuple[int, int]]) -> Fit:
    """Return how images of these heights and widths come to one shape."""
    if fit == "auto":
        return "keep" if _have_one_aspect(sizes) else "pad"
    return "crop" if fit == "earlier" else fit


def native_size(sizes: Sequence[tuple[int, int]], fit: Fit) -> tuple[int, int]:
    """Return height and width in which images are kept: the median ones, at most as large as `LARGEST_SIDE` squared.

    With `crop` it is a square, of the median shorter side.
    """
    if fit == "crop":
        side = min(LARGEST_SIDE, int(np.median([min(size) for size in sizes])))
        return side, side
    height, width = (float(np.median([size[axis] for size in sizes])) for axis in (0, 1))
    if fit != "keep":  # portraits and landscapes: the aspect that lies in the middle, at the median area
        aspect = float(np.exp(np.median([math.log(h / w) for h, w in sizes])))
        area = float(np.median([h * w for h, w in sizes]))
        height, width = math.sqrt(area * aspect), math.sqrt(area / aspect)
    scale = min(1.0, LARGEST_SIDE / math.sqrt(height * width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _have_one_aspect(sizes: Sequence[tuple[int, int]]) -> bool:
    aspects = [math.log(height / width) for height, width in sizes]
    return max(aspects) - min(aspects) <= ALIKE
