"""The report of a study, written again and again while its search runs."""

import time
from collections.abc import Callable, Mapping

from paredown.search.api.storage import stored_study
from paredown.search.finishing import replace_report
from paredown.search.listener import ProgressListener, SearchStart
from paredown.search.side_process import SideProcess, Tell
from paredown.studies.result import TrialResult

LIMIT_S = 600.0
"""Seconds after which a report that is not written is given up."""


class LiveReport(ProgressListener):
    """Rewrites the report at an interval, in a process of its own, which delays no trial.

    The page is replaced whole. A report that is still being written when the next one is due is let be.

    Args:
        storage: Address of the database.
        study: Name of the study.
        every_s: Seconds from one report to the next.
        remark: Told of the first report that could not be written.
    """

    def __init__(self, storage: str, study: str, every_s: float, remark: Callable[[str], None]) -> None:
        self._of, self._every_s, self._remark = (storage, study), every_s, remark
        self._process: SideProcess | None = None
        self._begun = time.monotonic()
        self._has_failed = False

    def search_started(self, start: SearchStart) -> None:
        """Write the first report at once where earlier runs left something to show."""
        if start.models:
            self._begin()

    def finished(self, number: int, result: TrialResult) -> None:
        """Write a report where one is due."""
        self.tick()

    def epoch(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Write a report where one is due."""
        self.tick()

    def tick(self) -> None:
        """Write a report where one is due, and look what became of the one before."""
        now = time.monotonic()
        if self._process is not None:
            if self._process.is_over:
                self._close()
            elif now - self._begun > LIMIT_S:
                self._give_up(f"not written within {LIMIT_S:g} s")
        if self._process is None and now - self._begun >= self._every_s:
            self._begin()

    def search_ended(self) -> None:
        """Leave the last report to whoever ends the search."""
        if self._process is not None:
            self._process.end()
            self._process = None

    def _begin(self) -> None:
        self._begun = time.monotonic()
        try:
            self._process = SideProcess(write_report_of, *self._of)
        except OSError as error:  # no memory or no process left: the search is more important
            self._say(str(error))

    def _close(self) -> None:
        assert self._process is not None
        try:
            for _ in self._process.messages(time.monotonic):
                pass
        except Exception as error:  # whatever it is, it must not end the search
            self._say(f"{type(error).__name__}: {error}")
        self._process.end()
        self._process = None

    def _give_up(self, why: str) -> None:
        assert self._process is not None
        self._process.end()
        self._process = None
        self._say(why)

    def _say(self, why: str) -> None:
        if not self._has_failed:
            self._has_failed = True
            self._remark(f"the report could not be written, and is tried again: {why}")


def write_report_of(tell: Tell, storage: str, name: str) -> None:
    """Write the report of a study into its folder."""
    replace_report(stored_study(storage, name))
