"""csr: compressed sparse rows; the first axis gives the rows, and all others together give the columns.

Parameters: the number of non-zero values, and their encoding. Payload: the end of each row and the column of each
non-zero value, both in as few bits as the largest needs, then the non-zero values.

Source:
    Saad, Iterative Methods for Sparse Linear Systems, SIAM 2003, section 3.4.
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
    inner,
    integer,
)


def _widths(columns: int, nonzeros: int) -> tuple[int, int]:
    """Return the width of a row's end and of a column, in bits."""
    return nonzeros.bit_length(), max(1, (columns - 1).bit_length())


def _encode(values: Values, nested: Nested) -> Encoded | None:
    form = values.form
    if len(form.shape) < 2 or not form.count:
        return None
    matrix = values.words.reshape(form.shape[0], -1)
    rows, columns = np.nonzero(matrix)
    if not 0 < len(rows) < form.count:
        return None
    ends = np.searchsorted(rows, np.arange(1, form.shape[0] + 1))
    end_bits, column_bits = _widths(matrix.shape[1], len(rows))
    kept = matrix[rows, columns]
    within = nested(Values(Form(kept.shape, form.kind), kept))
    index = pack_bits(ends.astype(np.uint64), end_bits) + pack_bits(columns.astype(np.uint64), column_bits)
    return Encoded(Row("csr", (len(rows), within.row)), index + within.payload)


def _decode(row: Row, form: Form, source: Source, nested: Unnested) -> Words:
    if len(form.shape) < 2 or not form.count:
        raise broken(row, f"a tensor of shape {form.shape} has no rows")
    nonzeros = integer(row, 0, 1, form.count)
    height, width = form.shape[0], form.count // form.shape[0]
    end_bits, column_bits = _widths(width, nonzeros)
    ends = unpack_bits(source, height, end_bits).astype(np.int64)
    columns = unpack_bits(source, nonzeros, column_bits).astype(np.int64)
    lengths = np.diff(ends, prepend=0)
    if (lengths < 0).any() or ends[-1] != nonzeros or columns.max() >= width:
        raise broken(row, f"rows or columns are beyond {height} x {width} with {nonzeros} values")
    matrix = np.zeros((height, width), dtype=form.word)
    kept = nested(inner(row, 1), Form((nonzeros,), form.kind), source)
    matrix[np.repeat(np.arange(height), lengths), columns] = kept
    return matrix.reshape(form.shape)


CSR = Encoding("csr", _encode, _decode)
