"""Trained networks on disk, by the digest of all that made them."""

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
"""Folders of entries that are being written begin with it."""
ABANDONED_S = 3600.0
"""A file that was begun so long ago was left by a process that was killed."""


@dataclass(frozen=True)
class CacheEntry:
    """An entry.

    Attributes:
        state: Tensors by name.
        notes: What was kept with them.
    """

    state: dict[str, Tensor]
    notes: dict[str, str]


class CheckpointCache:
    """A folder of entries, those used longest ago deleted where it grows beyond its limit.

    Any number of processes may read and write it: an entry appears whole or not at all, and one that another
    process deletes is simply not there.

    Args:
        folder: Made where it does not exist.
        limit_bytes: Of all entries together; 0 keeps none.
    """

    def __init__(self, folder: Path, limit_bytes: float) -> None:
        self._folder, self._limit_bytes = folder, limit_bytes

    def get(self, key: str) -> CacheEntry | None:
        """Return an entry, or None where there is none that can be read."""
        file = self._folder / f"{key}{SUFFIX}"
        try:
            stored = file.read_bytes()  # at once: another process may delete the file meanwhile
            state = load(stored)
            os.utime(file)
        except FileNotFoundError:
            return None
        except SafetensorError:  # damaged on the disk: it is made again
            file.unlink(missing_ok=True)
            return None
        return CacheEntry(state, _notes(stored))

    def put(self, key: str, state: Mapping[str, Tensor], notes: Mapping[str, str]) -> None:
        """Keep an entry, unless it alone is larger than the limit."""
        # Copies: the names of a module that is used twice share their tensors, which the format refuses.
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
    """Return the metadata of a safetensors file: its header is JSON, after its length in eight bytes."""
    header = json.loads(stored[8 : 8 + int.from_bytes(stored[:8], "little")])
    return dict(header.get("__metadata__", {}))
