"""Finds ONNX models whose weights lie in other files, which a model from elsewhere must not choose.

Early versions of ONNX Runtime read any file that such a model names, `/etc/passwd` too. Models are written whole here.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paredown.evaluators.errors import EvaluationError

KEY = "location"
"""Under this key a tensor names the file of its values."""


def whole_model(model: Path | bytes) -> bytes:
    """Return an ONNX model, or that of a file.

    Raises:
        EvaluationError: It names other files.
        OSError: The file cannot be read.
        google.protobuf.message.DecodeError: It is no ONNX model.
    """
    content = model if isinstance(model, bytes) else model.read_bytes()
    if (other := external_file(content)) is not None:
        raise EvaluationError(f"the model names another file, {other!r}, which is not read; save it as one file")
    return content


def external_file(model: bytes) -> str | None:
    """Return the first file beside itself that a model names; None where it holds all its values.

    Raises:
        google.protobuf.message.DecodeError: It is no ONNX model.
    """
    if KEY.encode() not in model:  # true of nearly all, which need not be parsed
        return None
    import onnx

    tensors = (one for one in _messages(onnx.load_from_string(model)) if isinstance(one, onnx.TensorProto))
    return next((entry.value for one in tensors for entry in one.external_data if entry.key == KEY), None)


def _messages(message: Any) -> Iterator[Any]:
    """Yield every message within one: graphs, nodes, functions, and the tensors of all of them."""
    yield message
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in value if field.is_repeated else (value,):
                yield from _messages(inner)
