"""General compression of the two parts of a packed file: zlib, or none."""

import zlib

from paredown.evaluators.errors import PackingError

COMPRESSIONS = ("zlib", "none")
"""zlib comes with Python everywhere, so the length of a file does not depend on what is installed."""


def compress(data: bytes, compression: str) -> tuple[str, bytes]:
    """Compress bytes, unless that would make them longer.

    Returns:
        The compression that was applied and the bytes; "none" and the bytes as they are where nothing is saved.

    Raises:
        PackingError: The compression is unknown.
    """
    if compression not in COMPRESSIONS:
        raise PackingError(f"compression {compression!r} is unknown; allowed: {', '.join(COMPRESSIONS)}")
    packed = zlib.compress(data, 9) if compression == "zlib" else data
    return (compression, packed) if len(packed) < len(data) else ("none", data)


def decompress(data: bytes, compression: str, size: int) -> bytes:
    """Return the original bytes; never allocates more than their stated size.

    Raises:
        PackingError: The compression is not read, the bytes are broken, or their number differs from `size`.
    """
    if compression == "none":
        raw, whole = data, True
    elif compression == "zlib":
        stream = zlib.decompressobj()
        try:
            raw = stream.decompress(data, size + 1)
        except zlib.error as error:
            raise PackingError(f"the packed file is broken: {error}") from error
        whole = stream.eof or not size
    elif compression == "zstd":
        raise PackingError(
            "the packed file is compressed by zstd, which is no longer read; "
            f"pack its model again; compressions that are read: {', '.join(COMPRESSIONS)}"
        )
    else:
        raise PackingError(
            f"the packed file is broken: compression {compression!r} is unknown; known: {', '.join(COMPRESSIONS)}"
        )
    if len(raw) != size or not whole:
        raise PackingError(f"the packed file is broken: a part does not have the {size} bytes that its header says")
    return raw
