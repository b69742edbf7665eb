"""Keeps the files of a finished trial in the folder of its study."""

import os
import shutil
import tempfile
from pathlib import Path

from paredown.spaces.candidate import Candidate


def keep(files: Path, study_folder: Path, candidate: Candidate) -> str:
    """Copy a trial's files atomically to the study's folder, under the candidate's digest.

    Returns:
        Path of the new folder, relative to the study's folder.
    """
    artifact = f"trials/{candidate.digest[:16]}"
    target = study_folder / artifact
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as stage:
        fresh = Path(stage, "files")
        shutil.copytree(files, fresh)
        if target.exists():  # left by a run that was killed before its result was stored
            os.replace(target, Path(stage, "old"))
        os.replace(fresh, target)
    return artifact
