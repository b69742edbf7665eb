"""What an encoding is: values to bytes and back, bit for bit."""

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
"""Types of values that are encoded, by name; all others stay in the graph."""


@dataclass(frozen=True)
class Form:
    """What a tensor is, its values aside.

    Attributes:
        shape: Its shape.
        kind: Name of its type in `KINDS`.
    """

    shape: tuple[int, ...]
    kind: str

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a value."""
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
        """Length where nothing is saved."""
        return self.count * self.dtype.itemsize

    @property
    def is_integer(self) -> bool:
        """Whether the values are integers or booleans."""
        return self.dtype.kind in "iub"


@dataclass(frozen=True)
class Values:
    """A tensor to encode.

    Attributes:
        form: What it is.
        words: Its bit patterns, in its shape: what is equal here is equal bit for bit.
        domain: Where it is said to be sparse.
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
    """How a tensor is stored, as it stands in the header.

    Attributes:
        encoding: Its name.
        params: Integers, texts, or rows of the tensors within.
    """

    encoding: str
    params: "tuple[int | str | Row, ...]" = ()

    def __str__(self) -> str:
        inner = [str(p) for p in self.params if isinstance(p, Row)]
        return f"{self.encoding}({', '.join(inner)})" if inner else self.encoding


@dataclass(frozen=True)
class Encoded:
    """A tensor, stored.

    Attributes:
        row: How.
        payload: The bytes.
    """

    row: Row
    payload: bytes

    @property
    def size_bytes(self) -> int:
        """Length of payload and row."""
        return len(self.payload) + _length(self.row)


def _length(row: Row) -> int:
    """Return how many characters a row takes in the header, its encoding being one digit."""
    return 3 + sum(1 + (_length(p) if isinstance(p, Row) else len(str(p))) for p in row.params)


class Source:
    """The payload of a packed file, read from its beginning to its end."""

    def __init__(self, payload: bytes) -> None:
        self._payload = memoryview(payload)
        self.position = 0

    def take(self, size: int) -> memoryview:
        """Return the next bytes.

        Raises:
            PackingError: There are not so many.
        """
        if not 0 <= size <= len(self._payload) - self.position:
            left = len(self._payload) - self.position
            raise PackingError(f"the packed file is broken: {size} bytes are wanted where {left} are left")
        self.position += size
        return self._payload[self.position - size : self.position]


Nested = Callable[[Values], Encoded]
"""Encodes what is within another tensor."""
Unnested = Callable[[Row, Form, Source], Words]
"""Decodes what is within another tensor."""


@dataclass(frozen=True)
class Encoding:
    """A way to store a tensor.

    Attributes:
        name: As it stands in the header.
        encode: Returns None where it does not apply.
        decode: Restores the bit patterns, in the tensor's shape.
    """

    name: str
    encode: Callable[[Values, Nested], Encoded | None]
    decode: Callable[[Row, Form, Source, Unnested], Words]


def broken(row: Row, reason: str) -> PackingError:
    """Return the error for a row that cannot be."""
    return PackingError(f"the packed file is broken: {row.encoding}: {reason}")


def integer(row: Row, at: int, low: int, high: int) -> int:
    """Return an integer among the parameters.

    Raises:
        PackingError: It is missing, no integer, or outside `low` to `high`.
    """
    value = row.params[at] if at < len(row.params) else None
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise broken(row, f"parameter {at} is {value!r}, not an integer from {low} to {high}")
    return value


def inner(row: Row, at: int) -> Row:
    """Return a row among the parameters.

    Raises:
        PackingError: There is none.
    """
    value = row.params[at] if at < len(row.params) else None
    if not isinstance(value, Row):
        raise broken(row, f"parameter {at} is {value!r}, not an encoding")
    return value
