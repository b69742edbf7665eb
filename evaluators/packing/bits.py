"""Unsigned integers of k bits each, stored without gaps, least significant bit first."""

import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.packing.encoding import Source


def packed_size(count: int, bits: int) -> int:
    """Return the number of bytes that `count` integers take."""
    return -(-count * bits // 8)


def pack_bits(values: NDArray[np.uint64], bits: int) -> bytes:
    """Pack `n` integers, each below `2 ** bits`, into bytes."""
    places = np.arange(bits, dtype=np.uint64)
    ones = (values.reshape(-1, 1) >> places & np.uint64(1)).astype(np.uint8)
    return np.packbits(ones, axis=None, bitorder="little").tobytes()


def unpack_bits(source: Source, count: int, bits: int) -> NDArray[np.uint64]:
    """Return the next `count` integers.

    Raises:
        PackingError: The source holds fewer.
    """
    raw = np.frombuffer(source.take(packed_size(count, bits)), dtype=np.uint8)
    ones = np.unpackbits(raw, count=count * bits, bitorder="little").reshape(count, bits)
    values = np.zeros(count, dtype=np.uint64)
    for place in range(bits):
        values |= ones[:, place].astype(np.uint64) << np.uint64(place)
    return values
