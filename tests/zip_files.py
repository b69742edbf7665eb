"""Zip files of images as users upload them, and as they should not."""

import io
import zipfile
from collections.abc import Iterable, Mapping

import numpy as np
from PIL import Image


def picture(shade: int, side: int = 16) -> bytes:
    """Return a small PNG file that is unlike those of other shades."""
    pixels = np.random.default_rng(shade).integers(0, 40, (side, side), dtype=np.uint8) + np.uint8(shade % 200)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def images(top: str = "") -> dict[str, bytes]:
    """Return a data set of two classes: a file's name to its content."""
    numbers = {"train": 6, "val": 4}
    return {
        f"{top}{split}/{name}/{number}.png": picture(100 * label + 10 * number + (split == "val"))
        for split, count in numbers.items()
        for label, name in enumerate(("cat", "dog"))
        for number in range(count)
    }


def zipped(files: Mapping[str, bytes], more: Iterable[tuple[zipfile.ZipInfo | str, bytes]] = ()) -> bytes:
    """Return a zip file of files and of further members, which may have names that are there already."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in [*files.items(), *more]:
            archive.writestr(name, content)
    return file.getvalue()
