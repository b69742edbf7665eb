"""bitmask: one bit for each value that tells whether it is non-zero, then the non-zero values in their own encoding.

Parameter: encoding of the non-zero values.
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
    inner,
)


def _encode(values: Values, nested: Nested) -> Encoded | None:
    flat = values.words.reshape(-1)
    mask = flat != 0
    if mask.all():
        return None
    kept = flat[mask]
    within = nested(Values(Form(kept.shape, values.form.kind), kept))
    return Encoded(Row("bitmask", (within.row,)), pack_bits(mask.astype(np.uint64), 1) + within.payload)


def _decode(row: Row, form: Form, source: Source, nested: Unnested) -> Words:
    mask = unpack_bits(source, form.count, 1).astype(bool)
    words = np.zeros(form.count, dtype=form.word)
    words[mask] = nested(inner(row, 0), Form((int(mask.sum()),), form.kind), source)
    return words.reshape(form.shape)


BITMASK = Encoding("bitmask", _encode, _decode)
