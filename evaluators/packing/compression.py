"""General compression of the two parts of a packed file: zlib, or zstd where it is installed and asked for."""

import zlib
from types import ModuleType

from paredown.evaluators.errors import PackingError

COMPRESSIONS = ("zlib", "zstd", "none")
"""zlib comes with Python everywhere, so the length of a file does not depend on what is installed."""
ZSTD_LEVEL = 19


def compress(data: bytes, compression: str) -> tuple[str, bytes]:
    """Return what was done and the bytes; nothing is done where that is shorter.

    Raises:
        PackingError: The compression is unknown, or its package is not installed.
    """
    if compression not in COMPRESSIONS:
        raise PackingError(f"compression {compression!r} is unknown; allowed: {', '.join(COMPRESSIONS)}")
    if compression == "none":
        return "none", data
    if compression == "zlib":
        packed = zlib.compress(data, 9)
    else:
        packed = bytes(_zstandard().ZstdCompressor(level=ZSTD_LEVEL).compress(data))
    return (compression, packed) if len(packed) < len(data) else ("none", data)


def decompress(data: bytes, compression: str, size: int) -> bytes:
    """Return the bytes of a known size; never allocates more.

    Raises:
        PackingError: They are not of that size, or cannot be read.
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
        zstandard = _zstandard()
        try:
            with zstandard.ZstdDecompressor().stream_reader(data) as reader:
                raw, whole = bytes(reader.read(size)), not reader.read(1)
        except zstandard.ZstdError as error:
            raise PackingError(f"the packed file is broken: {error}") from error
    else:
        raise PackingError(
            f"the packed file is broken: compression {compression!r} is unknown; known: {', '.join(COMPRESSIONS)}"
        )
    if len(raw) != size or not whole:
        raise PackingError(f"the packed file is broken: a part does not have the {size} bytes that its header says")
    return raw


def _zstandard() -> ModuleType:
    try:
        import zstandard
    except ImportError as error:
        raise PackingError("compression zstd needs the package zstandard: pip install 'paredown[zstd]'") from error
    module: ModuleType = zstandard
    return module
