"""Adoption: a study is told where its data, modules and outputs lie now, after a check that they are its own."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from paredown.evaluators.errors import TaskError
from paredown.evaluators.files.names import MODEL_FILE, PACKED_FILE
from paredown.evaluators.tasks.catalogue import TASKS
from paredown.evaluators.tasks.spec import TaskSpec, load_task
from paredown.spaces.errors import SpaceError
from paredown.spaces.families.imported import imported
from paredown.spaces.knob import Range
from paredown.studies.agreement import is_own_network, place_of
from paredown.studies.database_address import read_address
from paredown.studies.errors import StudyError
from paredown.studies.exporters.catalogue import folder_name
from paredown.studies.model_folder.manifest import read_manifest
from paredown.studies.moved_networks import is_searched, move_network, moved
from paredown.studies.outputs import lost_trials, read_mark, write_mark
from paredown.studies.selection import best_models
from paredown.studies.study import Study
from paredown.studies.tables import StudyRow, TrialRow

ANY_SIDE = Range(8, 8, 4)
"""Resolutions under which a network is asked for its digest, which does not depend on them."""
SIZES = {"onnx_bytes": MODEL_FILE, "size_bytes": PACKED_FILE}
"""Metrics that are the size of a file."""


@dataclass(frozen=True)
class Adoption:
    """What a study was told, and what was found there.

    Attributes:
        config: The configuration with the places of today.
        folder: Folder of the outputs.
        data: Where the data lie; empty where it was not asked.
        digest: Digest of the data; empty where it was not asked.
        finished: Number of finished trials with files.
        lost: Files that are missing or of another size, by number of the trial.
        exports: Names of the exported models of the front that are as their manifests say.
        unexported: Names of those that are missing or changed; they can be exported anew where their trial is not lost.
        rerun: Numbers of the trials that run again.
    """

    config: Mapping[str, Any]
    folder: Path
    data: str = ""
    digest: str = ""
    finished: int = 0
    lost: Mapping[int, list[str]] = field(default_factory=dict)
    exports: tuple[str, ...] = ()
    unexported: tuple[str, ...] = ()
    rerun: tuple[int, ...] = ()


def look(study: Study, data: Path | None, modules: Path | None, out: Path | None, *, rerun: bool) -> Adoption:
    """Return what the adoption of places would come to.

    Args:
        study: The study.
        data: Folder or file of the data; None leaves them where they are.
        modules: Folder of the modules that the study file names; None leaves them where they are.
        out: Folder of the outputs; None leaves it as it is.
        rerun: Whether trials whose files are lost are to run again.

    Raises:
        StudyError: What lies there is not the study's.
    """
    config, loader = dict(study.config), TASKS[study.config["task"]["name"]]
    if data is not None and loader.shorthand == "function":
        data, modules = None, data if modules is None else modules
    if data is not None and not loader.shorthand:
        raise StudyError(f"--data: the data of the task {loader.name} are built in; they need no place")
    if modules is not None:
        config = _with_modules(study, config, modules)
    found = Adoption(config, Path(study.folder))
    if data is not None or (modules is not None and loader.shorthand == "function"):
        found = _with_data(study.name, found, loader.shorthand, data)
    return found if out is None else _with_outputs(study, found, out.absolute(), rerun=rerun)


def adopt(study: Study, found: Adoption, url: str) -> None:
    """Store the places that `look` has found.

    Args:
        study: The study.
        found: What `look` returned.
        url: Address of the database.

    Raises:
        StudyError: A search of the study is alive.
        DatabaseUnusable: The database can only be looked at.
    """
    read_address(url).check_writable("what is adopted is stored there")
    with study.runner.transaction() as session:
        row = session.scalars(select(StudyRow).where(StudyRow.name == study.name)).one()
        _check_idle(session, row)
        move_network(session, row, found.config)
        row.config, row.folder = dict(found.config), str(found.folder)
        for trial in session.scalars(select(TrialRow).where(TrialRow.study_id == row.id)):
            if trial.number in found.rerun:
                trial.state, trial.owner, trial.lease_until = "waiting", "", 0.0
        session.commit()
    if found.finished or found.rerun or found.folder.is_dir():
        write_mark(found.folder, study, url)


def _check_idle(session: Session, row: StudyRow) -> None:
    if is_searched(session, row.id):
        raise StudyError(
            f"a search of study {row.name!r} is alive, or was half a minute ago; stop it, or wait until `paredown "
            f"status {row.name}` shows none"
        )


def _with_modules(study: Study, config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the configuration with another folder of the user's modules."""
    if not folder.is_dir():
        raise StudyError(f"--modules: there is no folder {folder}")
    config = {**config, "task_folder": str(folder.absolute())}
    if not config.get("model"):
        return config
    try:
        family = imported(config["model"], folder.absolute(), config.get("weights") or "")
    except SpaceError as error:
        raise StudyError(f"--modules: {error}") from error
    before = config["baseline"]["knobs"].get("digest")
    now = str(family.knobs(ANY_SIDE)["digest"].lowest)
    if is_own_network(config["baseline"]) and before != now:
        raise StudyError(
            f"--modules: {config['model']} in {folder} is another network: its digest is {now}, that of study "
            f"{study.name!r} is {before}"
        )
    return {**config, "baseline": moved(config["baseline"], config)}


def _with_data(name: str, found: Adoption, key: str, data: Path | None) -> Adoption:
    """Return the same with data at another place, or under other modules."""
    task = dict(found.config["task"])
    if data is not None:
        task["options"] = {**task["options"], key: str(data.absolute())}
    try:
        spec = TaskSpec(task["name"], json.dumps(task["options"]), Path(found.config["task_folder"]))
        digest = load_task(spec).digest
    except TaskError as error:
        raise StudyError(f"--data: {error}") from error
    place = str(data.absolute()) if data is not None else place_of(task)
    if digest != task["data"]:
        raise StudyError(
            f"--data: {place} holds other data: their digest is {digest}, that of the data of study {name!r} is "
            f"{task['data']}"
        )
    return replace(found, config={**found.config, "task": task}, data=place, digest=digest)


def _with_outputs(study: Study, found: Adoption, folder: Path, *, rerun: bool) -> Adoption:
    """Return the same with another folder of outputs, and what is in it."""
    if (mark := read_mark(folder)) is not None and mark.made_at != study.made_at:
        raise StudyError(f"--out: {folder} holds the outputs of another study, {mark.study!r} of {mark.made_at}")
    models, artifacts = study.models(), study.artifacts()
    lost = lost_trials(artifacts, folder)
    for model in models:
        if model.trial in artifacts and model.trial not in lost:
            sizes = {SIZES[name]: m.value for name, m in model.measurements.items() if name in SIZES}
            files = [Path(model.artifact, name) for name in sizes]
            changed = [str(file) for file in files if _size(folder / file) not in (None, sizes[file.name])]
            lost |= {model.trial: changed} if changed else {}
    if len(lost) == len(artifacts) > 0 and not rerun:
        first = next(iter(lost.values()))[0]
        raise StudyError(
            f"--out: {folder} has none of the outputs of study {study.name!r}: {first} and the others are not there; "
            "name the folder that holds trials/, or add --rerun to let its trials run again"
        )
    names = [folder_name(model) for model in best_models(study)]
    exports = tuple(name for name in names if _is_whole(folder / "models" / name))
    return replace(
        found,
        folder=folder,
        finished=len(artifacts),
        lost=lost,
        exports=exports,
        unexported=tuple(name for name in names if name not in exports),
        rerun=tuple(sorted(lost)) if rerun else (),
    )


def _size(file: Path) -> float | None:
    return float(file.stat().st_size) if file.is_file() else None


def _is_whole(folder: Path) -> bool:
    try:
        read_manifest(folder)
    except StudyError:
        return False
    return True
