"""The log of a study's searches: `search.log` in its folder, one line an event, each with its time."""

import os
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from paredown.search.listener import ProgressListener, SearchStart
from paredown.search.monitoring.search_progress import SearchProgress
from paredown.studies.result import PendingTrial, TrialResult

LOG_FILE = "search.log"
QUIET_S = 300.0
"""Seconds without an event after which a line says what runs."""


class SearchLog(ProgressListener):
    """Appends to the log of a study; several searches may do so at a time, and each line names the process.

    Args:
        folder: Folder of the study; it is made where it does not exist.
        progress: What the search has come to; it is told of each event before the log is.
    """

    def __init__(self, folder: Path, progress: SearchProgress) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file, self._progress, self._written = folder / LOG_FILE, progress, time.monotonic()

    def write(self, text: str) -> None:
        """Append a line."""
        now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        line = f"{now} [{os.getpid()}] {' '.join(text.split())}\n"
        with self._file.open("a", encoding="utf-8") as log:
            log.write(line)  # in one piece, so that lines of several processes do not mix
        self._written = time.monotonic()

    def supernet_awaited(self, family: str) -> None:
        """Write whose supernet is awaited."""
        self.write(self._progress.supernet)

    def supernet_epoch(self, family: str, epoch: int, epochs: int) -> None:
        """Write that a supernet's training starts."""
        if epoch:
            self.tick()
        else:
            self.write(f"supernet of {family} starts")

    def supernet_finished(self, family: str, epochs: int, seconds: float) -> None:
        """Write what training took."""
        self.write(f"supernet of {family}: {epochs} epochs in {seconds:.0f} s")

    def remark(self, text: str) -> None:
        """Write it."""
        self.write(text)

    def search_started(self, start: SearchStart) -> None:
        """Write what is to be done."""
        before = ", ".join(f"{n} {state}" for state, n in start.counts.items()) or "none"
        self.write(f"trials start: {start.trials} in all, {start.workers} at a time; trials before: {before}")

    def started(self, trial: PendingTrial) -> None:
        """Write what starts."""
        self.write(f"trial {trial.number} starts: {trial.candidate}")

    def finished(self, number: int, result: TrialResult) -> None:
        """Write what became of a trial."""
        self.write(self._progress.ended_line(number, result))

    def given_back(self, number: int, reason: str) -> None:
        """Write why a trial left."""
        self.write(f"trial {number}: {reason}")

    def epoch(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Write what runs, where nothing was written for long."""
        self.tick()

    def tick(self) -> None:
        """Write what runs, where nothing was written for long."""
        if time.monotonic() - self._written > QUIET_S:
            self.write(self._progress.running_line)
