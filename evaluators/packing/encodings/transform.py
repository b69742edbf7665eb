"""transform: coefficients in the domain in which the weights are sparse, in an encoding of their own.

Parameters: the domain as `transform/axes/channel`, and the encoding of the coefficients, `channels x n`. No other
encoding may change a value: this one rounds, and a filter moves by at most `TOLERANCE` units in the last place of its
norm.
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
)
from paredown.spaces.errors import SpaceError
from paredown.spaces.transforms import Domain, without_noise

FLOATS = ("float32", "float16")
TOLERANCE = 4.0


def _encode(values: Values, nested: Nested) -> Encoded | None:
    form, domain = values.form, values.domain
    if domain is None or form.kind not in FLOATS or not domain.suits(form.shape) or not form.count:
        return None
    weights = values.numbers.astype(np.float64)
    if not np.isfinite(weights).all():
        return None
    kept = without_noise(domain.analyse(weights), form.dtype).astype(form.dtype)
    strayed = domain.analyse(_restored(kept, form, domain).astype(np.float64) - weights)
    norms = np.linalg.norm(domain.analyse(weights), axis=1)
    if (np.linalg.norm(strayed, axis=1) > TOLERANCE * np.finfo(form.dtype).eps * norms).any():
        return None
    within = nested(Values(Form(kept.shape, form.kind), (kept + kept.dtype.type(0)).view(form.word)))
    return Encoded(Row("transform", (str(domain), within.row)), within.payload)


def _restored(coefficients: NDArray[Any], form: Form, domain: Domain) -> NDArray[Any]:
    # Adding zero turns a negative zero into a positive one.
    weights: NDArray[Any] = domain.synthesise(coefficients, form.shape).astype(form.dtype) + form.dtype.type(0)
    return weights


def _decode(row: Row, form: Form, source: Source, nested: Unnested) -> Words:
    text = row.params[0] if row.params else None
    if not isinstance(text, str) or form.kind not in FLOATS:
        raise broken(row, f"{text!r} is no domain of {form.kind}")
    try:
        domain = Domain.parse(text)
    except SpaceError as error:
        raise broken(row, str(error)) from error
    if not domain.suits(form.shape) or not form.count:
        raise broken(row, f"domain {text} does not suit the shape {form.shape}")
    channels = form.shape[domain.channel]
    coefficients = nested(inner(row, 1), Form((channels, form.count // channels), form.kind), source)
    with np.errstate(over="ignore", invalid="ignore"):  # a broken file may say anything
        return _restored(coefficients.view(form.dtype), form, domain).view(form.word)


TRANSFORM = Encoding("transform", _encode, _decode)
