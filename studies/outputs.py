"""The folder of a study's outputs: whose it is, and which files of trials are lost.

A mark in the folder names the study and its database, so that no other study, nor a copy of this one, writes over it.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from paredown.evaluators.files.names import MODEL_FILE, WEIGHTS_FILE
from paredown.studies.database_address import read_address, shown
from paredown.studies.default_storage import DEFAULT_STORAGE
from paredown.studies.errors import StudyError
from paredown.studies.records import Records

MARK_FILE = "study.json"
TRIALS_FOLDER = "trials"
NEEDED = (MODEL_FILE, WEIGHTS_FILE)
"""Files of a finished trial without which its model cannot be exported."""


@dataclass(frozen=True)
class Mark:
    """Whose outputs a folder holds.

    Attributes:
        study: Name of the study.
        made_at: Moment at which the study was made; copies of its database keep it.
        database: Absolute path of the database; empty for one on a server.
    """

    study: str
    made_at: str
    database: str


def read_mark(folder: Path) -> Mark | None:
    """Return the mark of a folder; None where it has none, as folders of earlier versions."""
    try:
        return Mark(**json.loads((folder / MARK_FILE).read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise StudyError(f"{folder / MARK_FILE} cannot be read as the mark of a study's outputs: {error}") from error


def write_mark(folder: Path, study: Records, url: str) -> None:
    """Mark a folder as that of a study; it is made where it does not exist."""
    mark = Mark(study.name, study.made_at, _database(url))
    if read_mark(folder) == mark:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as stage:
        fresh = Path(stage, MARK_FILE)
        fresh.write_text(json.dumps(asdict(mark), indent=2) + "\n")
        os.replace(fresh, folder / MARK_FILE)


def check_mark(folder: Path, name: str, study: Records | None, url: str) -> None:
    """Refuse a folder that holds the outputs of another study.

    Args:
        folder: The folder; it need not exist.
        name: Name of the study.
        study: The study; None for one that does not exist yet.
        url: Address of its database.

    Raises:
        StudyError: The folder belongs to another study, or to the original of a copied database.
    """
    mark = read_mark(folder)
    if mark is None:
        if study is None and any((folder / TRIALS_FOLDER).glob("*")):
            raise StudyError(
                f"{folder} holds trials of an earlier study, whose models a new study {name!r} would write over; name "
                "another folder with --out, or that study's database with --storage"
            )
        return
    if study is None or mark.made_at != study.made_at:  # its name may have changed since
        of = f" in {mark.database}" if mark.database else ""
        raise StudyError(
            f"{folder} holds the outputs of another study, {mark.study!r} of {mark.made_at}{of}; name another folder "
            "with --out, or that study's database with --storage"
        )
    if mark.database and (here := _database(url)) != mark.database and _is_other_file(mark.database, here):
        raise StudyError(
            f"{folder} belongs to study {name!r} of {mark.database}, of which {here or 'this database'} holds a copy; "
            f"go on there with --storage sqlite:///{mark.database}, or give the copy a folder of its own: copy "
            f"{folder} to DIR, then {adopt_command(name, url, '--out DIR')}"
        )


def lost_trials(artifacts: Mapping[int, str], folder: Path) -> dict[int, list[str]]:
    """Return which files of finished trials are not in a folder, by number of the trial.

    Args:
        artifacts: Folder of each trial, relative to that of the study.
        folder: Folder of the study.
    """
    lost = {
        number: [f"{artifact}/{name}" for name in NEEDED if not (folder / artifact / name).is_file()]
        for number, artifact in artifacts.items()
    }
    return {number: files for number, files in lost.items() if files}


def adopt_command(name: str, url: str, options: str) -> str:
    """Return the command that tells a study where its files are, without the password of its database."""
    option = "" if url == DEFAULT_STORAGE else f" --storage {shown(url)}"
    return f"paredown adopt {name} {options}{option}"


def _database(url: str) -> str:
    file = read_address(url).file
    return "" if file is None else str(file.absolute())


def _is_other_file(before: str, now: str) -> bool:
    """Return whether the database of before is still there, beside the one of now."""
    return os.path.exists(before) and not (now and os.path.samefile(before, now))
