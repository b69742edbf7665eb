"""How a search is stopped from outside: a signal raises a flag, and the search looks at it where it can stop.

An exception in the middle of a library would leave cursors, locks and half-read messages behind.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
TIME_IS_UP = "the time is up"
"""Why a search has ended whose time limit is reached."""
MEASURED_LATER = "the same command measures what is parked once it is back"
"""How the reason ends of a search that is over but for what its device has still to measure."""
TWICE_S = 0.5
"""Seconds within which a second signal is taken for the first: a key press may reach a process on two ways."""


class StopRequest:
    """Whether a search has been asked to stop.

    Attributes:
        asked_at: `time.monotonic()` of the request; None until there is one.
    """

    def __init__(self) -> None:
        self.asked_at: float | None = None

    @property
    def is_asked(self) -> bool:
        """Whether the search is to stop."""
        return self.asked_at is not None

    def ask(self) -> None:
        """Ask the search to stop."""
        if self.asked_at is None:
            self.asked_at = time.monotonic()


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Let the first SIGINT or SIGTERM ask for a stop; a second one does what it did before.

    Signals that the process ignores stay ignored. In a thread other than the main one, where Python cannot set signal
    handlers, nothing changes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    def ask(number: int, frame: Any) -> None:
        if request.asked_at is None:
            request.ask()
        elif time.monotonic() - request.asked_at > TWICE_S:
            earlier = before[signal.Signals(number)]
            if callable(earlier):
                earlier(number, frame)
            else:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)

    ours = [number for number, earlier in before.items() if earlier not in (signal.SIG_IGN, None)]
    for number in ours:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        for number in ours:
            signal.signal(number, before[number])
