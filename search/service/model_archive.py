"""Exported models as files to send."""

import os
import tempfile
import zipfile
from pathlib import Path

from paredown.studies.errors import StudyNotFound
from paredown.studies.exporters.catalogue import DEFAULT_FORMAT, EXPORTERS, trial_folder


def model_archive(models: Path, trial: int, format_name: str = DEFAULT_FORMAT) -> Path:
    """Return a temporary zip file of an exported model; the caller deletes it.

    Args:
        models: Folder of the study's exported models.
        trial: Number of the trial.
        format_name: Name in the catalogue of exporters.

    Raises:
        StudyNotFound: The model was not exported, or there is no such format.
    """
    if format_name not in EXPORTERS:
        raise StudyNotFound(f"no format {format_name!r}; allowed: {', '.join(EXPORTERS)}")
    name = trial_folder(trial, format_name)
    folder = models / name
    if not folder.is_dir() or folder.resolve() != models.resolve() / name:
        how = f"POST to models/{trial}/export of the study exports it"
        raise StudyNotFound(f"trial {trial} is not exported; {how}, and the end of a search the models of its front")
    inside = folder.resolve()
    files = [one for one in sorted(folder.rglob("*")) if one.is_file() and one.resolve().is_relative_to(inside)]
    handle, target = tempfile.mkstemp(prefix="paredown-model-", suffix=".zip")
    with os.fdopen(handle, "wb") as opened, zipfile.ZipFile(opened, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, Path(name, file.relative_to(folder)))
    return Path(target)
