"""Status files: what each search of a study does now, for whoever looks from another terminal.

Each search has a file of its own in the folder `status` of the study. It is replaced whole, at most once a second.
"""

import json
import os
import secrets
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from paredown.search.listener import ProgressListener, SearchStart
from paredown.search.monitoring.search_progress import SearchProgress
from paredown.studies.result import CAUSE, PendingTrial, TrialResult
from paredown.studies.runner_process import RunnerProcess

STATUS_FOLDER = "status"
EVERY_S = 1.0
"""Seconds between two versions of the file."""
SILENT_S = 60.0
"""Seconds without a new version after which a search is taken for dead where nobody here can see its process."""


class StatusFile(ProgressListener):
    """Writes what a search does.

    Args:
        folder: Folder of the study.
        progress: What the search has come to; it is told of each event before this listener is.
    """

    def __init__(self, folder: Path, progress: SearchProgress) -> None:
        self._progress, self._began, self._written = progress, time.time(), 0.0
        # Containers share host names and numbers of processes.
        name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.json"
        self._file, self._process = folder / STATUS_FOLDER / name, RunnerProcess.here()
        self._file.parent.mkdir(parents=True, exist_ok=True)
        for file, status in read_statuses(folder):
            if not is_alive(status):
                file.unlink(missing_ok=True)
        self._write()

    def supernet_epoch(self, family: str, epoch: int, epochs: int) -> None:
        """Write how far a supernet is."""
        self.tick()

    def search_started(self, start: SearchStart) -> None:
        """Write that trials start."""
        self._write()

    def started(self, trial: PendingTrial) -> None:
        """Write what starts."""
        self.tick()

    def epoch(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Write how far a trial is."""
        self.tick()

    def finished(self, number: int, result: TrialResult) -> None:
        """Write what became of a trial."""
        self.tick()

    def tick(self) -> None:
        """Write, but not more than once a second."""
        if time.monotonic() - self._written > EVERY_S:
            self._write()

    def end(self, reason: str) -> None:
        """Write why the search has ended."""
        self._write(reason)

    def _write(self, ended: str = "") -> None:
        document = self._document() | ({"ended": ended} if ended else {})
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(document, indent=2) + "\n")
        os.replace(fresh, self._file)
        self._written = time.monotonic()

    def _document(self) -> dict[str, Any]:
        progress = self._progress
        return {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process": None if self._process is None else self._process.to_json(),
            "began_at": self._began,
            "updated_at": time.time(),
            "supernet": progress.supernet,
            "trials": progress.start.trials,
            "spent": progress.spent,
            "workers": progress.start.workers,
            "trial_s": progress.trial_s,
            "seconds_left": progress.seconds_left,
            "needed_s": progress.needed_s,
            "deadline_s": progress.deadline_s,
            "running": [
                {"trial": number, "since": trial.since, "epochs": trial.epochs, "metrics": dict(trial.metrics)}
                for number, trial in sorted(progress.running.items())
            ],
            "failures": [
                {"trial": number, "cause": result.facts.get(CAUSE, ""), "reason": result.reason}
                for number, result in progress.failures
            ],
        }


def read_statuses(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return the status files of a study with what they say; one that another process removes meanwhile is left out."""
    found = []
    for file in sorted((folder / STATUS_FOLDER).glob("*.json")):
        with suppress(FileNotFoundError):
            found.append((file, json.loads(file.read_text())))
    return found


def is_alive(status: Mapping[str, Any]) -> bool:
    """Return whether the search that wrote a status still runs."""
    if "ended" in status:
        return False
    process, here = RunnerProcess.from_json(status.get("process")), RunnerProcess.here()
    if process is not None and here is not None and process.place == here.place:
        return not process.is_gone(here)
    return bool(time.time() - status["updated_at"] < SILENT_S)
