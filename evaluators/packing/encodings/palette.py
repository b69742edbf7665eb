"""palette: a codebook of at most 256 distinct values, and an index into it for each value.

Parameter: length of the codebook. Payload: the codebook, then `count` indices in as few bits as the largest needs.

Source:
    Han, Mao, Dally, Deep Compression, ICLR 2016, section 3 (shared weights).
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

MOST_COLOURS = 256


def _encode(values: Values, nested: Nested) -> Encoded | None:
    del nested
    flat = values.words.reshape(-1)
    # If the first values already hold too many distinct ones, there is no need to sort all of them.
    if not flat.size or np.unique(flat[: 8 * MOST_COLOURS]).size > MOST_COLOURS:
        return None
    codebook, numbers = np.unique(flat, return_inverse=True)
    if codebook.size > MOST_COLOURS:
        return None
    bits = (codebook.size - 1).bit_length()
    payload = codebook.tobytes() + (pack_bits(numbers.astype(np.uint64), bits) if bits else b"")
    return Encoded(Row("palette", (codebook.size,)), payload)


def _decode(row: Row, form: Form, source: Source, nested: Unnested) -> Words:
    del nested
    size = integer(row, 0, 1, MOST_COLOURS)
    codebook = np.frombuffer(source.take(size * form.word.itemsize), dtype=form.word)
    bits = (size - 1).bit_length()
    numbers = unpack_bits(source, form.count, bits) if bits else np.zeros(form.count, dtype=np.uint64)
    if form.count and int(numbers.max()) >= size:
        raise broken(row, f"a number is beyond the codebook of {size}")
    return codebook[numbers.astype(np.int64)].reshape(form.shape)


PALETTE = Encoding("palette", _encode, _decode)
