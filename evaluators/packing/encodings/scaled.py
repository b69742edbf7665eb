"""scaled: floats that equal a small integer times the scale of their channel, to the last bit.

Parameters: axis of the channels, and encoding of the integers. Payload: one scale for each channel, then the integers
as int8, `channels x n`, in an encoding of their own. Such weights result from quantization simulated in floats.

Source:
    Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference, CVPR 2018, section 2.1, equation 1.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.packing.encoding import (
    Encoded,
    Encoding,
    Form,
    Nested,
    Row,
    Source,
    Unnested,
    Values,
    Words,
    broken,
    inner,
    integer,
)

LARGEST = 127
FLOATS = ("float32", "float16")


def _encode(values: Values, nested: Nested) -> Encoded | None:
    form = values.form
    if form.kind not in FLOATS or len(form.shape) < 2 or not form.count or not np.isfinite(values.numbers).all():
        return None
    # Output channels are the first axis of a convolution's weights, and the last of a matrix product's.
    axes = dict.fromkeys((0, len(form.shape) - 1))
    found = [encoded for axis in axes if (encoded := _along(values, axis, nested)) is not None]
    return min(found, key=lambda encoded: encoded.size_bytes, default=None)


def _along(values: Values, axis: int, nested: Nested) -> Encoded | None:
    channels = np.moveaxis(values.numbers, axis, 0)
    channels = np.ascontiguousarray(channels).reshape(len(channels), -1)
    scales = np.zeros(len(channels), dtype=channels.dtype)
    for at, channel in enumerate(channels):
        scale = _scale(channel)
        if scale is None:
            return None
        scales[at] = scale
    integers = _integers(channels, scales[:, None]).astype(np.int8)
    within = nested(Values(Form(integers.shape, "int8"), integers.view(np.uint8)))
    return Encoded(Row("scaled", (axis, within.row)), scales.tobytes() + within.payload)


def _scale(channel: NDArray[Any]) -> Any:
    """Return the largest scale of which all values are small integer multiples; None if there is none."""
    distinct = np.unique(channel)
    if distinct.size > 2 * LARGEST + 1:
        return None
    largest = np.abs(distinct).max()
    if largest == 0:
        return None if np.signbit(channel).any() else channel.dtype.type(0)
    exact = (np.float64(largest) / np.arange(1, LARGEST + 1)).astype(channel.dtype)
    candidates = np.stack([exact, np.nextafter(exact, 0), np.nextafter(exact, largest)], axis=1).reshape(-1, 1)
    candidates = candidates[candidates[:, 0] > 0]
    with np.errstate(over="ignore"):
        restored = _integers(distinct[None], candidates).astype(channel.dtype) * candidates
    right = np.flatnonzero((restored == distinct).all(1))
    if not right.size or (np.signbit(channel) & (channel == 0)).any():  # no multiple is a negative zero
        return None
    return candidates[right[0], 0]


def _integers(numbers: NDArray[Any], scales: NDArray[Any]) -> NDArray[np.float64]:
    safe = np.where(scales == 0, 1, scales).astype(np.float64)
    return np.clip(np.rint(numbers.astype(np.float64) / safe), -LARGEST, LARGEST) + 0.0


def _decode(row: Row, form: Form, source: Source, nested: Unnested) -> Words:
    if form.kind not in FLOATS or not form.shape or not form.count:
        raise broken(row, f"{form.kind} of shape {form.shape} has no scales")
    axis = integer(row, 0, 0, len(form.shape) - 1)
    channels = form.shape[axis]
    rest = [size for at, size in enumerate(form.shape) if at != axis]
    scales = np.frombuffer(source.take(channels * form.dtype.itemsize), dtype=form.dtype)
    integers = nested(inner(row, 1), Form((channels, form.count // channels), "int8"), source).view(np.int8)
    with np.errstate(over="ignore", invalid="ignore"):  # a broken file may say anything
        restored = integers.astype(form.dtype) * scales[:, None]
    numbers = np.moveaxis(restored.reshape(channels, *rest), 0, axis)
    return np.ascontiguousarray(numbers).view(form.word)


SCALED = Encoding("scaled", _encode, _decode)
