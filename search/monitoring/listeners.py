"""Several listeners in the place of one."""

from collections.abc import Mapping

from paredown.search.listener import ProgressListener, SearchStart
from paredown.studies.result import PendingTrial, TrialResult


class Listeners(ProgressListener):
    """Tells each of several listeners in turn."""

    def __init__(self, *listeners: ProgressListener) -> None:
        self._listeners = list(listeners)

    def add(self, listener: ProgressListener) -> None:
        """Tell one more from here on."""
        self._listeners.append(listener)

    def probed(self, done: int, total: int) -> None:
        """Tell all."""
        for listener in self._listeners:
            listener.probed(done, total)

    def supernet_epoch(self, family: str, epoch: int, epochs: int) -> None:
        """Tell all."""
        for listener in self._listeners:
            listener.supernet_epoch(family, epoch, epochs)

    def supernet_awaited(self, family: str) -> None:
        """Tell all."""
        for listener in self._listeners:
            listener.supernet_awaited(family)

    def supernet_finished(self, family: str, epochs: int, seconds: float) -> None:
        """Tell all."""
        for listener in self._listeners:
            listener.supernet_finished(family, epochs, seconds)

    def remark(self, text: str) -> None:
        """Tell all."""
        for listener in self._listeners:
            listener.remark(text)

    def search_started(self, start: SearchStart) -> None:
        """Tell all."""
        for listener in self._listeners:
            listener.search_started(start)

    def started(self, trial: PendingTrial) -> None:
        """Tell all."""
        for listener in self._listeners:
            listener.started(trial)

    def epoch(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Tell all."""
        for listener in self._listeners:
            listener.epoch(number, epoch, metrics)

    def finished(self, number: int, result: TrialResult) -> None:
        """Tell all."""
        for listener in self._listeners:
            listener.finished(number, result)

    def given_back(self, number: int, reason: str) -> None:
        """Tell all."""
        for listener in self._listeners:
            listener.given_back(number, reason)

    def tick(self) -> None:
        """Tell all."""
        for listener in self._listeners:
            listener.tick()

    def skipped(self) -> None:
        """Tell all."""
        for listener in self._listeners:
            listener.skipped()

    def counted(self, counts: Mapping[str, int]) -> None:
        """Tell all."""
        for listener in self._listeners:
            listener.counted(counts)

    def search_ended(self) -> None:
        """Tell all."""
        for listener in self._listeners:
            listener.search_ended()
