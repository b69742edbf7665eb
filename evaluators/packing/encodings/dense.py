"""dense: the unchanged values, little-endian."""

import numpy as np

from paredown.evaluators.packing.encoding import Encoded, Encoding, Form, Nested, Row, Source, Unnested, Values, Words


def _encode(values: Values, nested: Nested) -> Encoded:
    del nested
    return Encoded(Row("dense"), values.words.tobytes())


def _decode(row: Row, form: Form, source: Source, nested: Unnested) -> Words:
    del row, nested
    return np.frombuffer(source.take(form.size_bytes), dtype=form.word).reshape(form.shape)


DENSE = Encoding("dense", _encode, _decode)
