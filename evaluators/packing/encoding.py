"""The interface of an encoding: it turns values into bytes and restores them bit for bit."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.errors import PackingError
from paredown.spaces.transforms import Domain

Words = NDArray[np.unsignedinteger[Any]]

KINDS: dict[str, np.dtype[Any]] = {
    **{name: np.dtype(name) for name in ("float64", "float32", "float16", "bool")},
    **{f"{sign}int{bits}": np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
"""Value types that can be encoded, by name; tensors of other types stay in the graph."""


@dataclass(frozen=True)
class Form:
    """The shape and type of a tensor.

    Attributes:
        shape: The shape.
        kind: Name of the value type, a key of `KINDS`.
    """

    shape: tuple[int, ...]
    kind: str

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy type of a value."""
        return KINDS[self.kind]

    @property
    def word(self) -> np.dtype[Any]:
        """Unsigned integer as wide as a value, little-endian."""
        return np.dtype(f"<u{self.dtype.itemsize}")

    @property
    def count(self) -> int:
        """Number of values."""
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Length of the dense encoding."""
        return self.count * self.dtype.itemsize

    @property
    def is_integer(self) -> bool:
        """Whether the values are integers or booleans."""
        return self.dtype.kind in "iub"


@dataclass(frozen=True)
class Values:
    """A tensor to encode.

    Attributes:
        form: Shape and type.
        words: Bit patterns of the values, in the tensor's shape. Equal words mean equal values bit for bit, which
            comparing floats would not.
        domain: Transform domain in which the tensor is sparse; None if none is known.
    """

    form: Form
    words: Words
    domain: Domain | None = None

    @property
    def numbers(self) -> NDArray[Any]:
        """The values as numbers."""
        return self.words.view(self.form.dtype)


@dataclass(frozen=True)
class Row:
    """The header's entry for a tensor: how it is stored.

    Attributes:
        encoding: Name of the encoding.
        params: Its parameters: integers, texts, or the rows of nested tensors.
    """

    encoding: str
    params: "tuple[int | str | Row, ...]" = ()

    def __str__(self) -> str:
        inner = [str(p) for p in self.params if isinstance(p, Row)]
        return f"{self.encoding}({', '.join(inner)})" if inner else self.encoding


@dataclass(frozen=True)
class Encoded:
    """An encoded tensor.

    Attributes:
        row: Its entry in the header.
        payload: Its bytes.
    """

    row: Row
    payload: bytes

    @property
    def size_bytes(self) -> int:
        """Length of the payload and the row together."""
        return len(self.payload) + _length(self.row)


def _length(row: Row) -> int:
    """Return the number of characters that a row takes in the header, counting its encoding as one digit."""
    return 3 + sum(1 + (_length(p) if isinstance(p, Row) else len(str(p))) for p in row.params)


class Source:
    """A reader that consumes the payload of a packed file from start to end."""

    def __init__(self, payload: bytes) -> None:
        self._payload = memoryview(payload)
        self.position = 0

    def take(self, size: int) -> memoryview:
        """Return the next bytes.

        Raises:
            PackingError: Fewer are left.
        """
        if not 0 <= size <= len(self._payload) - self.position:
            left = len(self._payload) - self.position
            raise PackingError(f"the packed file is broken: {size} bytes are wanted where {left} are left")
        self.position += size
        return self._payload[self.position - size : self.position]


Nested = Callable[[Values], Encoded]
"""Encodes a tensor that is nested in another one."""
Unnested = Callable[[Row, Form, Source], Words]
"""Decodes a tensor that is nested in another one."""


@dataclass(frozen=True)
class Encoding:
    """A way to store a tensor.

    Attributes:
        name: Name in the header.
        encode: Encodes a tensor; returns None for one to which the encoding does not apply.
        decode: Restores the bit patterns, in the tensor's shape.
    """

    name: str
    encode: Callable[[Values, Nested], Encoded | None]
    decode: Callable[[Row, Form, Source, Unnested], Words]


def broken(row: Row, reason: str) -> PackingError:
    """Return the error for an invalid row."""
    return PackingError(f"the packed file is broken: {row.encoding}: {reason}")


def integer(row: Row, at: int, low: int, high: int) -> int:
    """Return the integer parameter at a position.

    Raises:
        PackingError: It is missing, is not an integer, or lies outside `low` to `high`.
    """
    value = row.params[at] if at < len(row.params) else None
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise broken(row, f"parameter {at} is {value!r}, not an integer from {low} to {high}")
    return value


def inner(row: Row, at: int) -> Row:
    """Return the nested row at a position of the parameters.

    Raises:
        PackingError: There is no row at that position.
    """
    value = row.params[at] if at < len(row.params) else None
    if not isinstance(value, Row):
        raise broken(row, f"parameter {at} is {value!r}, not an encoding")
    return value
