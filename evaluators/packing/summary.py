"""How the bytes of a packed file are spent, as tables for people and manifests."""

from typing import Any

from paredown.evaluators.packing.container import Contents


def encoding_rows(contents: Contents) -> list[dict[str, Any]]:
    """Return the number of tensors and their bytes before compression, by encoding, the largest first."""
    rows: dict[str, dict[str, Any]] = {}
    for tensor in contents.tensors:
        row = rows.setdefault(
            tensor.encoding, {"encoding": tensor.encoding, "tensors": 0, "dense_bytes": 0, "bytes": 0}
        )
        row["tensors"] += 1
        row["dense_bytes"] += tensor.dense_bytes
        row["bytes"] += tensor.size_bytes
    return sorted(rows.values(), key=lambda row: -row["bytes"])


def tensor_rows(contents: Contents) -> list[dict[str, Any]]:
    """Return the shape, type, encoding and bytes of each tensor, in the order of the file."""
    return [
        {
            "tensor": tensor.name,
            "shape": list(tensor.shape),
            "type": tensor.kind,
            "encoding": tensor.encoding,
            "bytes": tensor.size_bytes,
            "dense_bytes": tensor.dense_bytes,
        }
        for tensor in contents.tensors
    ]
