"""Caches trained networks on disk, by the digest of all that determines them."""

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

SUFFIX = ".safetensors"
FRESH = ".new-"
"""Prefix of the folders of entries that are being written."""
ABANDONED_S = 3600.0
"""Seconds after which an unfinished entry is taken as left behind by a killed process."""


@dataclass(frozen=True)
class CacheEntry:
    """An entry of the cache.

    Attributes:
        state: Tensors by name.
        notes: Text by key that was stored with the tensors.
    """

    state: dict[str, Tensor]
    notes: dict[str, str]


class CheckpointCache:
    """A folder of entries that deletes the least recently used ones where it exceeds its limit.

    Any number of processes may read and write the folder: an entry appears whole or not at all, and an entry that
    another process deletes is a miss.

    Args:
        folder: Folder of the entries; it is made where it does not exist.
        limit_bytes: Maximum size of all entries together; 0 keeps none.
    """

    def __init__(self, folder: Path, limit_bytes: float) -> None:
        self._folder, self._limit_bytes = folder, limit_bytes

    def get(self, key: str) -> CacheEntry | None:
        """Return an entry; None where there is none or it cannot be read."""
        file = self._folder / f"{key}{SUFFIX}"
        try:
            stored = file.read_bytes()  # at once: another process may delete the file meanwhile
            state = load(stored)
            os.utime(file)
        except FileNotFoundError:
            return None
        except SafetensorError:  # the entry is damaged: the caller makes it again
            file.unlink(missing_ok=True)
            return None
        return CacheEntry(state, _notes(stored))

    def put(self, key: str, state: Mapping[str, Tensor], notes: Mapping[str, str]) -> None:
        """Store an entry, unless it alone exceeds the limit."""
        # Copied, since the format refuses shared tensors, which a module that is used twice has.
        plain = {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in state.items()}
        if sum(tensor.nbytes for tensor in plain.values()) > self._limit_bytes:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=FRESH, dir=self._folder) as name:
            fresh = Path(name, "entry")
            save_file(plain, fresh, dict(notes))
            os.replace(fresh, self._folder / f"{key}{SUFFIX}")
        self._evict()

    def _evict(self) -> None:
        entries = []
        for file in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process deletes too
                status = file.stat()
                if file.suffix == SUFFIX:
                    entries.append((status.st_mtime_ns, status.st_size, file))
                elif file.name.startswith(FRESH) and time.time() - status.st_mtime > ABANDONED_S:
                    shutil.rmtree(file, ignore_errors=True)  # another process may do the same
        total = sum(size for _, size, _ in entries)
        for _, size, file in sorted(entries):
            if total <= self._limit_bytes:
                return
            file.unlink(missing_ok=True)
            total -= size


def _notes(stored: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file, whose header is JSON after eight bytes with its length."""
    header = json.loads(stored[8 : 8 + int.from_bytes(stored[:8], "little")])
    return dict(header.get("__metadata__", {}))
