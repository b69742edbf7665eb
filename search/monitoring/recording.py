"""What a search leaves behind for those who did not watch: its log and its status file."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from paredown.search.listener import ProgressListener
from paredown.search.monitoring.listeners import Listeners
from paredown.search.monitoring.search_log import SearchLog
from paredown.search.monitoring.search_progress import SearchProgress
from paredown.search.monitoring.status_file import StatusFile


class Recording(Listeners):
    """Tells a listener what happens, and beside it the log and the status file.

    Attributes:
        reason: Why the search ended, once it has.
    """

    def __init__(self, log: SearchLog, status: StatusFile, *listeners: ProgressListener) -> None:
        super().__init__(*listeners)
        self.log, self.status = log, status
        self.reason = ""

    def end(self) -> None:
        """Record why the search has ended."""
        self.log.write(f"the search has ended: {self.reason}")
        self.status.end(self.reason)


@contextmanager
def recorded(folder: Path, study: str, listener: ProgressListener) -> Iterator[Recording]:
    """Record a search from its beginning to its end, also where an error ends it.

    Args:
        folder: Folder of the study.
        study: Name of the study.
        listener: Told of all that is recorded.
    """
    progress = SearchProgress()
    log, status = SearchLog(folder, progress), StatusFile(folder, progress)
    recording = Recording(log, status, progress, log, status, listener)
    log.write(f"search of {study} by process {os.getpid()} on {socket.gethostname()}")
    try:
        yield recording
    except BaseException as error:
        recording.reason = f"{type(error).__name__}: {error}"
        with suppress(OSError):  # a folder that is gone may be the error which is on its way
            recording.end()
        raise
    recording.end()
