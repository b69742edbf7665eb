"""Resizing of images to squares."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def squared(image: Image.Image, side: int, mode: str) -> NDArray[np.uint8]:
    """Return an image as `c x side x side`, its long side cropped to the centre.

    Args:
        image: Of any mode and size.
        side: In pixels.
        mode: "L" for grey, "RGB" for colour.
    """
    image = in_8_bits(image)
    if image.mode != mode:
        image = image.convert(mode)
    if image.size != (side, side):
        width, height = image.size
        short = min(width, height)
        left, top = (width - short) / 2, (height - short) / 2
        image = image.resize((side, side), Image.Resampling.BILINEAR, box=(left, top, left + short, top + short))
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)


def in_8_bits(image: Image.Image) -> Image.Image:
    """Return a grey image of 16 bits in 8, and any other as it is; Pillow alone would cut at 255."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8))
