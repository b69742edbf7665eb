"""Where the data and the outputs of a study are at the start of a search, and whether they stay there."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from paredown.evaluators.tasks.catalogue import TASKS
from paredown.search.errors import ConfigError, SearchAborted
from paredown.search.study_file.objectives import stored_objectives
from paredown.search.study_file.schema import StudyConfig
from paredown.search.trial.failure_cause import DISK_FULL
from paredown.studies.agreement import place_of
from paredown.studies.database import A_SEARCH_WRITES
from paredown.studies.database_address import read_address, shown
from paredown.studies.errors import DatabaseUnusable, StudyError, StudyNotFound
from paredown.studies.outputs import adopt_command, check_mark, lost_trials
from paredown.studies.records import Records
from paredown.studies.result import CAUSE, TrialResult
from paredown.studies.study import Study

OUT = Path("paredown-out")
"""Folder of the outputs of all studies where none is named, relative to the working directory."""


def begun_study(url: str, name: str) -> Study | None:
    """Return the study that a search would go on with; None where it is new.

    Raises:
        DatabaseUnusable: The database cannot be opened or written.
    """
    address = read_address(url)
    if address.file is not None and not address.file.exists() and not address.read_only:
        return None
    address.check_writable(A_SEARCH_WRITES)
    try:
        return Study.open(url, name, stored_objectives)
    except StudyNotFound:
        return None


def find_data(
    config: StudyConfig, where: str, folder: Path, begun: Records | None, url: str
) -> tuple[StudyConfig, Path]:
    """Return a study file and the folder of its relative paths such that its data are found.

    Where the study file says, or, where nothing is there, where the study has had them last.

    Raises:
        ConfigError: They are at neither place.
    """
    if begun is None or begun.config["task"]["name"] != config.task.name:
        return config, folder
    key, stored = TASKS[config.task.name].shorthand, begun.config["task"]
    known, before = Path(begun.config["task_folder"]), place_of(stored)
    if key == "path":
        given = str(config.task.shorthand or config.task.options.get(key, ""))
        if (folder / given).exists() or not given:
            return config, folder
        if (known / before).exists():
            options = {**config.task.options, key: str(known / before)}
            task = config.task.model_copy(update={"options": options, "shorthand": None})
            return config.model_copy(update={"task": task}), folder
        raise ConfigError(
            f"{where}: task.{config.task.name}.{key}: there is no {(folder / given).absolute()}, and study "
            f"{begun.name!r} had its data at {known / before}, where nothing is either; put them back, or say where "
            f"they are: {adopt_command(begun.name, url, '--data PATH')}"
        )
    modules = [name.partition(":")[0].partition(".")[0] for name in (before, config.model or "") if ":" in name]
    is_known = bool(modules) and all(_has_module(known, module) for module in modules)
    if is_known and not all(_has_module(folder, module) for module in modules):
        return config, known
    return config, folder


def _has_module(folder: Path, name: str) -> bool:
    return (folder / f"{name}.py").is_file() or (folder / name).is_dir()


def outputs_folder(begun: Records | None, name: str, url: str, out: Path | None) -> Path:
    """Return the folder of a study's outputs: as asked, or where they are, or the default one for a new study.

    The folder where a study had them last goes before those beside the working directory and beside the database, to
    which both may have been moved.
    """
    default = OUT / name
    if out is not None or begun is None:
        return (out or default).absolute()
    known, artifacts, file = Path(begun.folder), begun.artifacts(), read_address(url).file
    places = [known, default.absolute(), *([file.absolute().parent / default] if file is not None else [])]
    for place in places:
        if place.is_dir() and (not artifacts or len(lost_trials(artifacts, place)) < len(artifacts)):
            return place
    return known if artifacts else default.absolute()


def check_outputs(begun: Records | None, name: str, folder: Path, url: str) -> str:
    """Refuse a folder in which a study cannot go on, and return a remark on it; empty where there is none.

    Raises:
        StudyError: The folder is another study's, cannot be written, or lacks the files of the study's trials.
    """
    check_mark(folder, name, begun, url)
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise StudyError(f"--out: {folder} cannot be made or written; name another folder")
    artifacts = {} if begun is None else begun.artifacts()
    lost = lost_trials(artifacts, folder)
    if begun is None or not lost:
        return ""
    baseline = begun.baseline()
    first = next(iter(lost.values()))[0]
    if len(lost) < len(artifacts) and (baseline is None or baseline.trial not in lost):
        again = adopt_command(name, url, f"--out {folder} --rerun")
        return (
            f"files of {len(lost)} trials are gone, such as {first}: their models cannot be exported; {again} lets "
            "them run again"
        )
    known = Path(begun.folder)
    if folder != known and not lost_trials(artifacts, known):
        raise StudyError(
            f"study {name!r} has its outputs in {known}; --out {folder} has none of them: leave --out away, or move "
            f"that folder there first, then {adopt_command(name, url, f'--out {folder}')}"
        )
    moved, rerun = (adopt_command(name, url, text) for text in ("--out DIR", f"--out {folder} --rerun"))
    raise StudyError(
        f"the files of {len(lost)} of {len(artifacts)} finished trials of study {name!r} are not in {folder}, such as "
        f"{first}; say where they are: {moved}; or, where they are lost, let these trials run again: {rerun}"
    )


def watched(study: Study, folder: Path, url: str) -> Callable[[TrialResult], str]:
    """Return a function that says why a failure is none of the trial's: its data or the outputs are gone.

    Args:
        study: The study.
        folder: Folder of its outputs.
        url: Address of its database.
    """

    def trouble(result: TrialResult) -> str:
        task = study.config["task"]
        data = Path(study.config["task_folder"], place_of(task))
        if TASKS[task["name"]].shorthand == "path" and not data.exists():
            command = adopt_command(study.name, url, "--data PATH")
            return f"the data of the study are gone from {data}; put them back, or say where they are: {command}"
        if result.facts.get(CAUSE) == "disk_full":
            return f"{result.reason}; make room, then the same command goes on"
        baseline = study.baseline()
        lost = lost_trials({} if baseline is None else {baseline.trial: study.artifacts()[baseline.trial]}, folder)
        if lost or not folder.is_dir():
            return _gone(study.name, folder, url)
        if not os.access(folder, os.W_OK):
            return f"{folder} cannot be written any more; {result.reason}"
        return ""

    return trouble


@contextlib.contextmanager
def losses_as_abort(study: Study, folder: Path, url: str) -> Iterator[None]:
    """Turn what ends a search because its database, its study or its outputs are gone into one message.

    Raises:
        SearchAborted: In place of the error.
    """
    try:
        yield
    except DatabaseUnusable as error:
        raise SearchAborted(str(error)) from error
    except OSError as error:
        if error.errno not in DISK_FULL and not _is_inside(error.filename, folder):
            raise
        if error.errno == errno.ENOENT or not folder.exists():
            raise SearchAborted(_gone(study.name, folder, url)) from error
        raise SearchAborted(f"{folder}: {error.strerror}") from error
    except (SQLAlchemyError, KeyError) as error:  # the latter is Optuna's
        if study.exists:
            raise
        raise SearchAborted(f"study {study.name!r} was deleted from {shown(url)} while it was searched") from error


def _is_inside(file: str | None, folder: Path) -> bool:
    return isinstance(file, str) and Path(file).is_relative_to(folder)


def _gone(name: str, folder: Path, url: str) -> str:
    command = adopt_command(name, url, "--out DIR")
    return f"the outputs of the study are gone from {folder}; put them back, or say where they are: {command}"
