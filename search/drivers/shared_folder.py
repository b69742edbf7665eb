"""The study's folder where workers are on other machines: do they see it, and did their files arrive whole?"""

import hashlib
import secrets
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SETTLE_S = 10.0
"""Seconds after which what one machine wrote must be seen by another: network file systems cache."""
POLL_S = 0.2

Digests = dict[str, dict[str, str]]
"""From the folder of a model, relative to the study's, to the SHA-256 of each of its files."""


@dataclass(frozen=True)
class Marker:
    """A file that the driver wrote into the study's folder, and what it holds.

    Attributes:
        file: Its path.
        content: Random text, so that a file of the same name elsewhere is not taken for it.
    """

    file: Path
    content: str

    @property
    def is_seen(self) -> bool:
        """Whether the process that asks sees the file."""
        until = time.monotonic() + SETTLE_S
        while True:
            try:
                if self.file.read_text() == self.content:
                    return True
            except OSError:
                pass  # not there: it may still appear
            if time.monotonic() > until:
                return False
            time.sleep(POLL_S)


@contextmanager
def marked(folder: Path) -> Iterator[Marker]:
    """Keep a marker in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    marker = Marker(folder / f".shared-{secrets.token_hex(8)}", secrets.token_hex(16))
    marker.file.write_text(marker.content)
    try:
        yield marker
    finally:
        marker.file.unlink(missing_ok=True)


def digests(folder: Path, artifacts: Collection[str]) -> Digests:
    """Return the digests of the files of models.

    Args:
        folder: The study's folder.
        artifacts: Folders of models, relative to it.
    """
    return {artifact: _of_files(folder / artifact) for artifact in sorted(set(artifacts) - {""})}


def differing(folder: Path, written: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the files that are missing or differ from what was written, once they had the time to arrive."""
    until = time.monotonic() + SETTLE_S
    while found := _differing(folder, written):
        if time.monotonic() > until:
            return found
        time.sleep(POLL_S)
    return []


def _differing(folder: Path, written: Mapping[str, Mapping[str, str]]) -> list[str]:
    here = digests(folder, written)
    return [
        f"{artifact}/{name}"
        for artifact, files in written.items()
        for name, digest in files.items()
        if here[artifact].get(name) != digest
    ]


def _of_files(folder: Path) -> dict[str, str]:
    found = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        with file.open("rb") as stream:
            found[str(file.relative_to(folder))] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found
