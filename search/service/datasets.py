"""Data sets of the service: uploaded as zip files, unpacked once, named by studies, deleted when none names them."""

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from paredown.search.errors import ConfigError
from paredown.search.service.dataset_places import (
    DOCUMENT_FILE,
    NAME,
    dataset_names,
    datasets_folder,
    images_folder,
    thumbnail_file,
)
from paredown.search.service.finished_process import output_of
from paredown.spaces.errors import ParedownError
from paredown.studies.access.tokens import OWNER, Token
from paredown.studies.queue.job import Job
from paredown.studies.queue.jobs import JobQueue

MAX_DATASETS = 100
"""Maximum number of data sets of one owner."""
UNPACKED_TIMES = 4
"""Times the limit of an upload that its files may take when they are unpacked: images hardly shrink in a zip file."""
DIGEST = "zip_sha256"


class DatasetNotFound(ParedownError):
    """No data set of that name, or it is someone else's: the two cannot be told apart."""


class DatasetConflict(ParedownError):
    """A data set cannot be what a request asks for, because of what is there."""


class UploadTooLarge(ParedownError):
    """More is uploaded than the server takes."""


class Datasets:
    """The data sets of all owners.

    Attributes:
        upload_limit: Maximum size of a zip file, in bytes.
    """

    def __init__(self, out: Path, jobs: JobQueue, upload_limit: int) -> None:
        self.upload_limit = upload_limit
        self._out, self._jobs = out, jobs

    def all(self, token: Token) -> list[dict[str, Any]]:
        """Return what is known of the data sets that a token may see."""
        owners = [token.owner]
        if token.allows("admin") and self._out.is_dir():
            owners = sorted(
                folder.name for folder in self._out.iterdir() if datasets_folder(self._out, folder.name).is_dir()
            )
        return [one for owner in owners for one in self._documents(owner)]

    def find(self, token: Token, name: str) -> dict[str, Any]:
        """Return what is known of a data set; an administrator reaches those of others as `OWNER.NAME`.

        Raises:
            DatasetNotFound: There is none.
        """
        owner, _, own = name.rpartition(".")
        if owner and not token.allows("admin"):
            own = ""
        try:
            return self._document(owner or token.owner, own)
        except OSError:  # also while it is deleted
            raise DatasetNotFound(f"no data set {name!r}") from None

    @contextmanager
    def place(self, owner: str, name: str) -> Iterator[Path]:
        """Hold the place of a data set that is uploaded now, and yield the file for its zip file, deleted in the end.

        Raises:
            ConfigError: The name is not allowed.
            DatasetConflict: It is being uploaded or deleted by another request, or the owner has too many.
        """
        if not NAME.fullmatch(name):
            raise ConfigError(f"data set {name!r}: not allowed; allowed: up to 64 letters, digits, _ and -")
        folder = self._folder(owner)
        folder.mkdir(parents=True, exist_ok=True)
        names = dataset_names(folder)
        if name not in names and len(names) >= MAX_DATASETS:
            raise DatasetConflict(f"you have {MAX_DATASETS} data sets; delete one first")
        with self._locked(owner, name):
            file = folder / f".{name}.zip"
            try:
                yield file
            finally:
                file.unlink(missing_ok=True)

    def add(self, owner: str, name: str, file: Path, digest: str) -> tuple[dict[str, Any], bool]:
        """Unpack an upload in its place; return what is known of it, and whether it is new.

        Args:
            owner: Name of the owner.
            name: Name of the data set, whose place is held.
            file: The zip file.
            digest: SHA-256 of the zip file; one that is repeated finds the data set that it made.

        Raises:
            ConfigError: What is in it is refused.
            DatasetConflict: There is another data set of that name.
        """
        folder = self._folder(owner) / name
        document_file = folder / DOCUMENT_FILE
        if document_file.is_file():
            if json.loads(document_file.read_text())[DIGEST] == digest:
                return self._document(owner, name), False
            raise DatasetConflict(f"data set {name!r} exists; delete it first, or name another one")
        shutil.rmtree(folder, ignore_errors=True)  # what a server that was killed left
        folder.mkdir()
        request = {"zip": str(file), "folder": str(folder), "max_bytes": UNPACKED_TIMES * self.upload_limit}
        try:
            found = json.loads(output_of("paredown.search.service.dataset_unpacking", given=json.dumps(request)))
            fresh = folder / f".{DOCUMENT_FILE}"
            fresh.write_text(json.dumps({"created_at": time.time(), DIGEST: digest, **found}))
            os.replace(fresh, document_file)
        except BaseException:
            shutil.rmtree(folder)
            raise
        return self._document(owner, name), True

    def thumbnail(self, token: Token, name: str, class_name: str, number: int) -> Path:
        """Return the PNG file of a training image.

        Raises:
            DatasetNotFound: There is no such data set, class or thumbnail.
        """
        document = self.find(token, name)
        if not 0 <= number < document["thumbnails"].get(class_name, 0):
            raise DatasetNotFound(f"no thumbnail {number} of class {class_name!r} in data set {name!r}")
        label = document["classes"].index(class_name)
        return thumbnail_file(self._folder(document["owner"]) / document["dataset"], label, number)

    def delete(self, token: Token, name: str) -> None:
        """Delete a data set with its files.

        Raises:
            DatasetNotFound: There is none.
            DatasetConflict: A study names it.
        """
        document = self.find(token, name)
        owner, own = document["owner"], document["dataset"]
        with self._locked(owner, own):
            if users := self._document(owner, own)["studies"]:
                raise DatasetConflict(f"data set {name!r} is the data of {', '.join(users)}; delete these first")
            folder = self._folder(owner) / own
            (folder / DOCUMENT_FILE).unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, owner: str) -> Path:
        return datasets_folder(self._out, owner)

    def _documents(self, owner: str) -> list[dict[str, Any]]:
        jobs = self._jobs.all(owner)
        return [self._document(owner, name, jobs) for name in dataset_names(self._folder(owner))]

    def _document(self, owner: str, name: str, jobs: Sequence[Job] | None = None) -> dict[str, Any]:
        if not (OWNER.fullmatch(owner) and NAME.fullmatch(name)):
            raise FileNotFoundError(name)
        folder = self._folder(owner) / name
        stored = json.loads((folder / DOCUMENT_FILE).read_text())
        images = str(images_folder(folder.resolve()))
        tasks = [(job.study, job.payload.get("task")) for job in (self._jobs.all(owner) if jobs is None else jobs)]
        users = [one for one, task in tasks if isinstance(task, dict) and images in task.get("options", {}).values()]
        return {"dataset": name, "owner": owner, **stored, "studies": users}

    @contextmanager
    def _locked(self, owner: str, name: str) -> Iterator[None]:
        lock = FileLock(self._folder(owner) / f".{name}.lock", timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            raise DatasetConflict(f"another request uploads or deletes data set {name!r} now") from None
        try:
            yield
        finally:
            lock.release()
