"""All encodings. A tensor takes the one with the shortest result; the first in the list wins a tie."""

from paredown.evaluators.errors import PackingError
from paredown.evaluators.packing.encoding import Encoded, Encoding, Form, Row, Source, Values, Words
from paredown.evaluators.packing.encodings.bit_packed import BIT_PACKED
from paredown.evaluators.packing.encodings.bitmask import BITMASK
from paredown.evaluators.packing.encodings.csr import CSR
from paredown.evaluators.packing.encodings.dense import DENSE
from paredown.evaluators.packing.encodings.palette import PALETTE
from paredown.evaluators.packing.encodings.scaled import SCALED
from paredown.evaluators.packing.encodings.transform import TRANSFORM

ENCODINGS: dict[str, Encoding] = {
    encoding.name: encoding for encoding in (DENSE, BIT_PACKED, PALETTE, SCALED, BITMASK, CSR, TRANSFORM)
}
DEEPEST = 4
"""Maximum depth to which encodings may be nested."""


def encode(values: Values) -> Encoded:
    """Return the values in the shortest encoding."""
    found = [encoded for e in ENCODINGS.values() if (encoded := e.encode(values, encode)) is not None]
    return min(found, key=lambda encoded: encoded.size_bytes)


def decode(row: Row, form: Form, source: Source, depth: int = 1) -> Words:
    """Return the bit patterns of a tensor, in the tensor's shape.

    Raises:
        PackingError: The row or the payload is broken.
    """
    if row.encoding not in ENCODINGS:
        raise PackingError(
            f"the packed file is broken: encoding {row.encoding!r} is unknown; known: {', '.join(ENCODINGS)}"
        )
    if depth > DEEPEST:
        raise PackingError(f"the packed file is broken: more than {DEEPEST} encodings within each other")
    return ENCODINGS[row.encoding].decode(row, form, source, lambda r, f, s: decode(r, f, s, depth + 1))
