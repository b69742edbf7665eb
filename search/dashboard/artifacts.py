"""Files of models and reports as Optuna's artifacts, which can be read alone."""

import json
import mimetypes
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NoReturn

from optuna.artifacts.exceptions import ArtifactNotFound

KEY = "artifacts:"
"""What the attributes begin with in which Optuna keeps what is known of an artifact."""


def artifact_id(study_id: int, file: str) -> str:
    """Return the id of a file of a study: hexadecimal, as the dashboard's addresses want it."""
    return f"{study_id}/{file}".encode().hex()


def readable(folder: Path, files: Iterable[str]) -> tuple[str, ...]:
    """Return those of some files that lie in a folder, links followed."""
    return tuple(file for file in files if _path(folder, file) is not None)


def _path(folder: Path, file: str) -> Path | None:
    """Return the place of a file, given that it lies in the folder."""
    path = (folder / file).resolve()
    return path if path.is_relative_to(folder.resolve()) and path.is_file() else None


def artifact_attributes(study_id: int, files: Iterable[str]) -> dict[str, str]:
    """Return the system attributes that announce files to the dashboard."""
    found = {}
    for file in files:
        name, found_id = PurePosixPath(file).name, artifact_id(study_id, file)
        mimetype = mimetypes.guess_type(name)[0] or "application/octet-stream"
        about = {"artifact_id": found_id, "filename": name, "mimetype": mimetype, "encoding": None}
        found[KEY + found_id] = json.dumps(about)
    return found


class FolderArtifacts:
    """Optuna's artifact store over the folders of studies; the files stay where they are.

    Args:
        folder: Function that returns the folder of a study by its id in Optuna, or None where it has none.
    """

    def __init__(self, folder: Callable[[int], Path | None]) -> None:
        self._folder = folder

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open a file.

        Raises:
            ArtifactNotFound: There is no such file in the folder of the study.
        """
        try:
            study_id, _, file = bytes.fromhex(artifact_id).decode().partition("/")
            folder = self._folder(int(study_id))
        except (ValueError, KeyError):
            folder = None
        if folder is not None and (path := _path(folder, file)) is not None:
            return path.open("rb")
        raise ArtifactNotFound(f"no artifact {artifact_id}")

    def write(self, artifact_id: str, content_body: BinaryIO) -> NoReturn:
        """Refuse: files come from searches and exports alone."""
        raise PermissionError("the files of a study cannot be added to")

    def remove(self, artifact_id: str) -> NoReturn:
        """Refuse: the files of a study are its results."""
        raise PermissionError("the files of a study cannot be removed")
