"""Which members of an uploaded zip file are unpacked, and what refuses the whole file.

A zip file from outside may name places outside of the folder, hold links, or grow without end. Nothing is unpacked
unless every member may be; what is then read is bounded again, since a zip file may lie about its members.
"""

import io
import os
import re
import stat
import unicodedata
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from paredown.evaluators.tasks.image_file import suffixes
from paredown.evaluators.tasks.image_listing import is_of_system
from paredown.search.errors import ConfigError

MAX_FILES = 200_000
"""Maximum number of members."""
MAX_RATIO = 100
"""Maximum number of bytes that come from one: images are compressed already."""
SMALL_BYTES = 1_000_000
"""Members up to this size may be compressed more: a plain picture is."""
MAX_DEPTH = 16
MAX_NAME_BYTES = 255
"""Maximum length of a file's or a folder's name, as file systems have it."""
DIRECTORY_BYTES = 64_000_000
"""Maximum length of the list of members, which is read into memory."""
FOLDERS = ("train", "val", "test")
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
FILE_TYPES = (0, stat.S_IFREG)
"""Types of a member that is a file; 0 where the zip file says none."""


@dataclass(frozen=True)
class Member:
    """A member that is unpacked.

    Attributes:
        info: The member.
        target: Where it goes, in the folder of the data set.
    """

    info: zipfile.ZipInfo
    target: PurePosixPath


class _ShortReads(io.FileIO):
    """A file of which no large part is read at once: `zipfile` reads the list of members as a whole."""

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = os.fstat(self.fileno()).st_size - self.tell() if size is None or size < 0 else size
        if wanted > DIRECTORY_BYTES:
            raise ConfigError(f"the zip file's list of members is too long; allowed: {MAX_FILES:,} files")
        return super().read(wanted) or b""


@contextmanager
def open_zip(file: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file.

    Raises:
        ConfigError: It is none, or names too many members.
    """
    with _ShortReads(file) as opened:
        try:
            archive = zipfile.ZipFile(opened)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
            raise ConfigError(f"this is no zip file that can be read: {error}") from None
        with archive:
            yield archive


def checked_members(archive: zipfile.ZipFile, max_bytes: int) -> tuple[list[Member], int]:
    """Return the images of a zip file, and how many files of operating systems are left out.

    Args:
        archive: The zip file: `train/CLASS/...`, `val/CLASS/...` and perhaps `test/CLASS/...`, or one folder of these.
        max_bytes: Maximum size of all files together, in bytes.

    Raises:
        ConfigError: A member may not be unpacked; the message names it.
    """
    infos = archive.infolist()
    if len(infos) > MAX_FILES:
        raise ConfigError(f"the zip file has {len(infos):,} members; allowed: {MAX_FILES:,}")
    checked = {info.filename: _checked_path(info) for info in infos}
    files = [(info, checked[info.filename]) for info in infos if not info.is_dir()]
    kept = [(info, path) for info, path in files if not any(map(_is_left_behind, path.parts))]
    for info, path in kept:
        _check_content(info, path)
    _check_places([path for _, path in kept])
    total = sum(info.file_size for info, _ in kept)
    if total > max_bytes:
        raise ConfigError(f"the zip file unpacks to {total:,} bytes; allowed: {max_bytes:,}")
    if not kept:
        raise ConfigError("the zip file holds no images; needed: train/CLASS/... and val/CLASS/...")
    top = _single_top([path for _, path in kept])
    members = [Member(info, path.relative_to(top)) for info, path in kept]
    for member in members:
        if member.target.parts[0] not in FOLDERS or len(member.target.parts) < 3:
            raise ConfigError(
                f"{_shown(str(member.target))}: is in no class; allowed: train/CLASS/..., val/..., test/..."
            )
    return members, len(files) - len(kept)


def extracted(archive: zipfile.ZipFile, member: Member) -> Iterator[bytes]:
    """Yield the content of a member, at most as long as the zip file says.

    Raises:
        ConfigError: It is damaged, or longer.
    """
    left = member.info.file_size
    try:
        with archive.open(member.info) as opened:
            while part := opened.read(1 << 20):
                left -= len(part)
                if left < 0:
                    raise ConfigError(f"{_shown(str(member.target))}: is longer than the zip file says")
                yield part
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise ConfigError(f"{_shown(str(member.target))}: cannot be unpacked: {error}") from None
    except Exception as error:  # zlib.error is no subclass of any of these
        if type(error).__module__ != "zlib":
            raise
        raise ConfigError(f"{_shown(str(member.target))}: cannot be unpacked: {error}") from None


def _checked_path(info: zipfile.ZipInfo) -> PurePosixPath:
    name = info.filename
    if "\0" in info.orig_filename:
        raise ConfigError(f"{_shown(info.orig_filename)}: has a NUL character in its name")
    for form in _forms(name):
        parts = form.rstrip("/").split("/")
        if form.startswith("/") or "\\" in form or re.match(r"[A-Za-z]:", form) or {"", ".", ".."} & set(parts):
            raise ConfigError(f"{_shown(name)}: leads out of the folder; allowed: names such as train/CLASS/1.png")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise ConfigError(f"{_shown(name)}: has control characters in its name")
    path = PurePosixPath(name)
    if len(path.parts) > MAX_DEPTH or any(len(part.encode()) > MAX_NAME_BYTES for part in path.parts):
        raise ConfigError(f"{_shown(name)}: is too long or too deep; allowed: {MAX_DEPTH} folders")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in ((*FILE_TYPES, stat.S_IFDIR) if info.is_dir() else FILE_TYPES):
        raise ConfigError(f"{_shown(name)}: is a link or a special file; allowed: files and folders")
    return path


def _forms(name: str) -> Iterator[str]:
    """Yield a name and what others may read it as: percent-encoded, several times, and letters of full width."""
    yield name
    for _ in range(3):
        if (decoded := unicodedata.normalize("NFKC", unquote(name, errors="replace"))) == name:
            return
        yield decoded
        name = decoded


def _is_left_behind(part: str) -> bool:
    return is_of_system(part, is_folder=True) or is_of_system(part)


def _check_content(info: zipfile.ZipInfo, path: PurePosixPath) -> None:
    shown = _shown(info.filename)
    if path.suffix.lower() not in suffixes():
        raise ConfigError(f"{shown}: is no image; allowed: images alone, no zip files in a zip file")
    if info.flag_bits & 1:
        raise ConfigError(f"{shown}: is encrypted")
    if info.compress_type not in METHODS:
        raise ConfigError(f"{shown}: is compressed by another method than deflate")
    if info.file_size > SMALL_BYTES and info.file_size > MAX_RATIO * info.compress_size:
        raise ConfigError(
            f"{shown}: {info.compress_size:,} bytes unpack to {info.file_size:,}; allowed: {MAX_RATIO} times as many"
        )


def _check_places(paths: list[PurePosixPath]) -> None:
    """Refuse two members for one place, also where a file system takes two names for one."""
    folded: dict[str, str] = {}
    for path in paths:
        name = unicodedata.normalize("NFC", str(path)).casefold()
        if name in folded:
            raise ConfigError(f"{_shown(str(path))}: is there twice, also as {_shown(folded[name])}")
        folded[name] = str(path)
    folders = {str(parent) for name in folded for parent in PurePosixPath(name).parents}
    if both := sorted(folders & folded.keys()):
        raise ConfigError(f"{_shown(folded[both[0]])}: is a file and a folder")


def _single_top(paths: list[PurePosixPath]) -> PurePosixPath:
    """Return the folder around `train` and `val` where the zip file has one."""
    tops = {path.parts[0] for path in paths}
    return PurePosixPath(*tops) if len(tops) == 1 and not tops & set(FOLDERS) else PurePosixPath()


def _shown(name: str) -> str:
    """Return a name for a message: one line, not long, of characters that can be stored anywhere."""
    return repr(name[:120].encode(errors="backslashreplace").decode())[1:-1]
