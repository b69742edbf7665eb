"""The state of a long training run after its latest epoch, from which the trial goes on after a kill."""

import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from paredown.spaces.candidate import Candidate

CHECKPOINT_FOLDER = "checkpoints"
"""Folder of the checkpoints, within the study's folder."""
EVERY_S = 10.0
"""Seconds of training after which the next epoch is kept, so that short trials write nothing."""


class EpochCheckpoint:
    """One stage of a trial's training: a file that is replaced whole, and removed when the trial ends.

    Args:
        file: Where it is kept.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._kept = file, time.monotonic()

    def load(self) -> Mapping[str, Any] | None:
        """Return the state that was kept; None where there is none that can be read."""
        if not self._file.exists():
            return None
        if not zipfile.is_zipfile(self._file):  # damaged on the disk: the trial starts anew
            self._file.unlink()
            return None
        state: dict[str, Any] = torch.load(self._file, map_location="cpu", weights_only=True)
        return state

    @property
    def is_due(self) -> bool:
        """Whether it is worth while to keep the state of an epoch that has just ended."""
        return time.monotonic() - self._kept >= EVERY_S

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep a state, in the place of the one before."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        handle, fresh = tempfile.mkstemp(prefix=".new-", dir=self._file.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                torch.save(dict(state), file)
            os.replace(fresh, self._file)
        except BaseException:
            Path(fresh).unlink(missing_ok=True)
            raise
        self._kept = time.monotonic()


def drop_checkpoints(folder: Path) -> None:
    """Delete what trials left that were killed and failed for good.

    Args:
        folder: Folder of a study that has no trial to go on with.
    """
    if (folder / CHECKPOINT_FOLDER).exists():
        shutil.rmtree(folder / CHECKPOINT_FOLDER)


class TrialCheckpoints:
    """The checkpoints of a trial, by stage.

    Args:
        folder: Folder of the study.
        candidate: Candidate of the trial.
        key: Digest of all else that determines the training.
    """

    def __init__(self, folder: Path, candidate: Candidate, key: str) -> None:
        self._folder, self._name = folder / CHECKPOINT_FOLDER, f"{candidate.digest[:16]}-{key[:16]}"

    def stage(self, name: str) -> EpochCheckpoint:
        """Return the checkpoint of a stage."""
        return EpochCheckpoint(self._folder / f"{self._name}-{name}.pt")

    def remove(self) -> None:
        """Remove all: the trial has ended."""
        for file in self._folder.glob(f"{self._name}-*.pt"):
            file.unlink(missing_ok=True)
