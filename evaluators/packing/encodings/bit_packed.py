"""packed: integers whose values span at most 8 bits, stored as differences from the smallest value.

Parameters: the smallest value, and the bits of a difference. Payload: the `count` differences.
"""

import numpy as np

from paredown.evaluators.packing.bits import pack_bits, unpack_bits
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
    integer,
)

MOST_BITS = 8


def _encode(values: Values, nested: Nested) -> Encoded | None:
    del nested
    if not values.form.is_integer or not values.form.count:
        return None
    numbers = values.words if values.form.kind == "bool" else values.numbers
    lowest, highest = int(numbers.min()), int(numbers.max())
    bits = (highest - lowest).bit_length()
    if not 1 <= bits <= MOST_BITS:
        return None
    # Differences of bit patterns equal differences of the numbers, whatever their sign.
    above = values.words.astype(np.uint64) - np.uint64(lowest % (1 << 64))
    above &= np.uint64((1 << bits) - 1)
    return Encoded(Row("packed", (lowest, bits)), pack_bits(above, bits))


def _decode(row: Row, form: Form, source: Source, nested: Unnested) -> Words:
    del nested
    if not form.is_integer:
        raise broken(row, f"{form.kind} is no integer")
    limits = np.iinfo(np.uint8 if form.kind == "bool" else form.dtype)
    lowest = integer(row, 0, int(limits.min), int(limits.max))
    above = unpack_bits(source, form.count, integer(row, 1, 1, MOST_BITS))
    words = (above + np.uint64(lowest % (1 << 64))).astype(form.word)
    return words.reshape(form.shape)


BIT_PACKED = Encoding("packed", _encode, _decode)
