"""Pixels of one image, `c x h x w` of any type: cropped, padded or stretched to a shape."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[Any]
"""One image, `c x h x w` of uint8, uint16 or float32."""
Fit = Literal["crop", "pad", "stretch", "keep"]
"""How an image comes to a shape: `crop` cuts its middle out, `pad` adds a border of zeros, `stretch` and `keep` resize.

`keep` says that there is nothing to decide: all images have the shape's aspect.
"""
Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a part, in pixels."""
PILLOW_MODES = {1: "L", 3: "RGB"}
"""What Pillow resizes at once, by channels; other numbers of channels are resized one by one."""


def fitted(pixels: Pixels, height: int, width: int, fit: Fit) -> Pixels:
    """Return an image as `c x height x width` of the same type."""
    _, own_height, own_width = pixels.shape
    if (own_height, own_width) == (height, width):
        return pixels
    if fit == "crop":
        scale = min(own_height / height, own_width / width)
        left, top = (own_width - width * scale) / 2, (own_height - height * scale) / 2
        return resized(pixels, height, width, (left, top, left + width * scale, top + height * scale))
    if fit == "pad":
        scale = min(height / own_height, width / own_width)
        inner = max(1, round(own_height * scale)), max(1, round(own_width * scale))
        top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
        canvas = np.zeros((len(pixels), height, width), pixels.dtype)
        canvas[:, top : top + inner[0], left : left + inner[1]] = resized(pixels, *inner)
        return canvas
    return resized(pixels, height, width)


def resized(pixels: Pixels, height: int, width: int, box: Box | None = None) -> Pixels:
    """Return an image, or a part of it, as `c x height x width` of the same type: bilinear, with antialiasing.

    Args:
        pixels: The image.
        height: Height of the result, in pixels.
        width: Width of the result, in pixels.
        box: The part; None for all.
    """
    if pixels.shape[1:] == (height, width) and box is None:
        return pixels
    size, bilinear = (width, height), Image.Resampling.BILINEAR
    mode = PILLOW_MODES.get(len(pixels))
    if pixels.dtype == np.uint8 and mode == "RGB":
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        return np.asarray(image.resize(size, bilinear, box=box)).transpose(2, 0, 1)
    if pixels.dtype == np.uint8:
        return np.stack([np.asarray(Image.fromarray(one).resize(size, bilinear, box=box)) for one in pixels])
    planes = [Image.fromarray(np.ascontiguousarray(one, np.float32)).resize(size, bilinear, box=box) for one in pixels]
    values = np.stack([np.asarray(plane, np.float32) for plane in planes])
    return values if pixels.dtype == np.float32 else np.round(values).astype(pixels.dtype)
