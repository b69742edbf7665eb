"""The container: an ONNX model as one safetensors file; docs/packed_file.md describes the format.

It has two parts: the graph, with its initializers emptied (those of branches included), and the payload, in which the
encoded initializers follow one another. A JSON header in the metadata records how each is encoded.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto
from safetensors import SafetensorError
from safetensors.numpy import load, save

from paredown.evaluators.errors import PackingError
from paredown.evaluators.files.names import PACKED_FILE
from paredown.evaluators.packing.compression import compress, decompress
from paredown.evaluators.packing.encoding import KINDS, Encoded, Form, Row, Source, Values, Words
from paredown.evaluators.packing.encodings.catalogue import decode, encode
from paredown.evaluators.packing.encodings.dense import DENSE
from paredown.spaces.errors import SpaceError
from paredown.spaces.transforms import DOMAIN_NOTE, Domain

PackedPart = NDArray[np.uint8]
HEADER, GRAPH, PAYLOAD = "paredown.packed", "graph", "payload"
FORMAT = 1
SMALL_BYTES, MOST_TIMES, MOST_BYTES = 1 << 26, 4096, (1 << 31) - 1
"""A file may unpack to 64 MiB, or to `MOST_TIMES` its length if that is more, and never above ONNX's limit of 2 GiB."""
MOST_AXES = 32
KIND_OF = {
    getattr(TensorProto, "DOUBLE" if k == "float64" else "FLOAT" if k == "float32" else k.upper()): k for k in KINDS
}


@dataclass(frozen=True)
class StoredTensor:
    """A description of one tensor in a packed file, for people.

    Attributes:
        name: Name in the graph.
        shape: The shape.
        kind: Type of the values.
        encoding: Encoding such as `bitmask(packed)`; `graph` for a tensor that stays in the graph.
        size_bytes: Length of its share of the payload, before the whole payload is compressed.
        dense_bytes: Length of the dense encoding.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    encoding: str
    size_bytes: int
    dense_bytes: int


@dataclass(frozen=True)
class Contents:
    """The contents of a packed file.

    Attributes:
        model: The ONNX model, serialised.
        tensors: Descriptions of its initializers.
        parts: Length of `graph`, `payload` and `header` in the file; together they are the length of the file.
    """

    model: bytes
    tensors: tuple[StoredTensor, ...]
    parts: dict[str, int]


def pack(model: bytes, compression: str = "zlib") -> bytes:
    """Return an ONNX model as a packed file; equal models give equal files.

    Unpacking restores every tensor bit for bit, except those with a `DOMAIN_NOTE`: their last bits may change, and the
    note is removed. The model to ship is therefore `unpack(pack(model))`.

    Args:
        model: Serialised model that contains its weights.
        compression: Compression of the graph and the payload: zlib or none.

    Raises:
        PackingError: The bytes are not such a model, or the compression is unknown.
    """
    proto = _parsed(model, "no ONNX model")
    packed = _assembled(proto, [_encoded(tensor) for tensor in _initializers(proto.graph)], compression)
    if len(model) > _limit(packed):  # next to nothing remains: a file that no reader would trust
        dense = [_encoded(tensor, dense=True) for tensor in _initializers(proto.graph)]
        packed = _assembled(proto, dense, "none")
    return packed


def _assembled(model: onnx.ModelProto, stored: Sequence[Encoded | None], compression: str) -> bytes:
    emptied = onnx.ModelProto()
    emptied.CopyFrom(model)
    for tensor, encoded in zip(_initializers(emptied.graph), stored, strict=True):
        if encoded is not None:
            shape, kind, name = list(tensor.dims), tensor.data_type, tensor.name
            tensor.Clear()
            tensor.dims[:], tensor.data_type, tensor.name = shape, kind, name
    graph = emptied.SerializeToString(deterministic=True)
    payload = b"".join(encoded.payload for encoded in stored if encoded is not None)
    parts: dict[str, PackedPart] = {}
    header: dict[str, Any] = {"format": FORMAT}
    for name, raw in ((GRAPH, graph), (PAYLOAD, payload)):
        done, data = compress(raw, compression)
        header[name] = [done, len(raw)]
        parts[name] = np.frombuffer(data, dtype=np.uint8)
    names: list[str] = []
    rows = [None if encoded is None else _numbered(encoded.row, names) for encoded in stored]
    rows = [row[0] if row is not None and len(row) == 1 else row for row in rows]
    header |= {"encodings": names, "tensors": rows}
    return bytes(save(parts, {HEADER: json.dumps(header, separators=(",", ":"))}))


def ship(model: bytes, file: Path) -> Path:
    """Write the packed file of an ONNX model and, as `file`, the ONNX model that it restores; return `file`."""
    packed = pack(model)
    file.with_name(PACKED_FILE).write_bytes(packed)
    file.write_bytes(unpack(packed))
    return file


def unpack(packed: bytes) -> bytes:
    """Return the ONNX model of a packed file, serialised.

    Raises:
        PackingError: The file is broken.
    """
    return read(packed).model


def read(packed: bytes) -> Contents:
    """Return the contents of a packed file; a broken one cannot make this allocate much more than the limits allow.

    Raises:
        PackingError: The file is broken.
    """
    with _broken_is_one_error():
        header, parts = _opened(packed)
        limit = _limit(packed)
        graph, payload = (_part(header, parts, name, limit) for name in (GRAPH, PAYLOAD))
        model = _parsed(graph, "the packed file is broken: its graph is no ONNX model")
        rows = _rows(header)
        tensors = list(_initializers(model.graph))
        if len(rows) != len(tensors):
            raise PackingError(f"the packed file is broken: {len(rows)} encodings for {len(tensors)} tensors")
        forms = [_form(tensor) for tensor in tensors]
        if (total := sum(form.size_bytes for form in forms if form is not None)) > limit:
            raise PackingError(f"the packed file is broken: its tensors would take {total} bytes, the limit is {limit}")
        source, stored = Source(payload), []
        for tensor, form, row in zip(tensors, forms, rows, strict=True):
            before = source.position
            if row is not None:
                if form is None:
                    raise PackingError(f"the packed file is broken: tensor {tensor.name!r} is of no type to encode")
                tensor.raw_data = decode(row, form, source).tobytes()
            stored.append(_described(tensor, form, row, source.position - before))
        if source.position != len(payload):
            raise PackingError(f"the packed file is broken: {len(payload) - source.position} bytes are left over")
        lengths = {name: part.size for name, part in parts.items()}
        lengths["header"] = len(packed) - sum(lengths.values())
        return Contents(bytes(model.SerializeToString(deterministic=True)), tuple(stored), lengths)


@contextlib.contextmanager
def _broken_is_one_error() -> Iterator[None]:
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, MemoryError, RecursionError) as error:
        raise PackingError(f"the packed file is broken: {type(error).__name__}: {error}") from error


def _limit(packed: bytes) -> int:
    return min(MOST_BYTES, max(SMALL_BYTES, MOST_TIMES * len(packed)))


def _opened(packed: bytes) -> tuple[dict[str, Any], dict[str, PackedPart]]:
    try:
        parts = load(packed)
    except SafetensorError as error:
        raise PackingError(f"no packed file: {error}") from error
    length = int.from_bytes(packed[:8], "little")
    metadata = json.loads(packed[8 : 8 + length]).get("__metadata__") or {}
    if HEADER not in metadata or set(parts) != {GRAPH, PAYLOAD}:
        raise PackingError(f"no packed file: {HEADER!r}, {GRAPH!r} or {PAYLOAD!r} is missing")
    header = json.loads(metadata[HEADER])
    if header["format"] != FORMAT:
        raise PackingError(f"the packed file has format {header['format']!r}; this version reads {FORMAT}")
    return header, parts


def _part(header: dict[str, Any], parts: dict[str, PackedPart], name: str, limit: int) -> bytes:
    done, size = header[name]
    if not isinstance(size, int) or not 0 <= size <= limit:
        raise PackingError(f"the packed file is broken: {name} of {size!r} bytes, the limit is {limit}")
    return decompress(parts[name].tobytes(), done, size)


def _parsed(model: bytes, wrong: str) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(model)
    except DecodeError as error:
        raise PackingError(f"{wrong}: {error}") from error
    return proto


def _initializers(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """Yield the initializers of a graph, then those of the branches in it, in the order of the nodes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from _initializers(inner)


def _form(tensor: TensorProto) -> Form | None:
    """Return the shape and type of a tensor; None if tensors of its type are not encoded."""
    if tensor.data_type not in KIND_OF:
        return None
    shape = tuple(tensor.dims)
    if len(shape) > MOST_AXES or min(shape, default=0) < 0:
        raise PackingError(f"tensor {tensor.name!r} of shape {list(shape)} cannot be")
    return Form(shape, KIND_OF[tensor.data_type])


def _encoded(tensor: TensorProto, dense: bool = False) -> Encoded | None:
    if tensor.data_location == TensorProto.EXTERNAL:
        raise PackingError(f"the weights of {tensor.name!r} are in another file; load the model with them first")
    form = _form(tensor)
    if form is None:
        return None
    with _broken_is_one_error():
        words: Words = np.ascontiguousarray(onnx.numpy_helper.to_array(tensor)).view(form.word).reshape(form.shape)
    values = Values(form, words, _domain(tensor))
    encoded = DENSE.encode(values, encode) if dense else encode(values)
    assert encoded is not None, "dense always applies"
    return encoded


def _domain(tensor: TensorProto) -> Domain | None:
    if not tensor.doc_string.startswith(DOMAIN_NOTE):
        return None
    try:
        return Domain.parse(tensor.doc_string.removeprefix(DOMAIN_NOTE))
    except SpaceError as error:
        raise PackingError(f"tensor {tensor.name!r}: {error}") from error


def _numbered(row: Row, names: list[str]) -> list[Any]:
    """Return a row as JSON, with its encoding as an index into the list of names."""
    if row.encoding not in names:
        names.append(row.encoding)
    return [names.index(row.encoding), *(_numbered(p, names) if isinstance(p, Row) else p for p in row.params)]


def _rows(header: dict[str, Any]) -> list[Row | None]:
    names: list[str] = header["encodings"]

    def row(numbered: list[Any]) -> Row:
        place = numbered[0]
        if not isinstance(place, int) or not 0 <= place < len(names):
            raise PackingError(f"the packed file is broken: there is no encoding {place!r} in its list {names}")
        return Row(names[place], tuple(row(p) if isinstance(p, list) else p for p in numbered[1:]))

    tensors = [[place] if isinstance(place, int) else place for place in header["tensors"]]
    return [None if numbered is None else row(numbered) for numbered in tensors]


def _described(tensor: TensorProto, form: Form | None, row: Row | None, size: int) -> StoredTensor:
    kind = TensorProto.DataType.Name(tensor.data_type).lower() if form is None else form.kind
    if row is None:
        size = tensor.ByteSize()
    dense = size if form is None else form.size_bytes
    return StoredTensor(tensor.name, tuple(tensor.dims), kind, str(row) if row else "graph", size, dense)
