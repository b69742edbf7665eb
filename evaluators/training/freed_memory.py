"""Memory that a training step frees stays with the process, so that the next step need not ask the system for it."""

import ctypes
import platform
from functools import cache

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Parameters of glibc's `mallopt`: size from which a block is mapped on its own; free memory that is given back."""
LARGEST_BLOCK_BYTES = 2**25
"""The largest threshold that glibc allows on machines of 64 bits."""
KEPT_BYTES = 2**27


@cache
def keep_freed_memory() -> None:
    """Let this process keep up to 128 MiB of freed memory; without effect where its C library is not glibc.

    By default every tensor of more than 128 kB may come from the system anew, page by page: 4 to 6 % of the processor
    time of training a small network (`benchmarks/freed_memory.py`).

    Source:
        mallopt(3).
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(MMAP_THRESHOLD, LARGEST_BLOCK_BYTES)
        library.mallopt(TRIM_THRESHOLD, KEPT_BYTES)
