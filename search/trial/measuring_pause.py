"""Training waits before its next batch while another process of the machine measures a model.

A latency that is found beside training differs by some percent, on whichever core the training is: it takes cache and
memory bandwidth. The one that measures holds a lock, which the system takes from it also where it is killed; who trains
looks at it before each batch, so that nobody has to be woken.
"""

import importlib.util
import os
import time
from collections.abc import Callable

import torch

from paredown.evaluators.measurement_lock import lock_file

LONGEST_SHARE = 0.5
"""Share of a trial's time that may be spent waiting: `paredown device profile` measures for minutes almost without a
gap, and training must come to its end beside it."""
LOOK_S = 0.005
"""Seconds between two looks at the lock."""
CAN_LOOK = importlib.util.find_spec("fcntl") is not None
"""Whether the system can tell who holds a lock without taking it: on Windows it cannot, and training goes on."""


def is_measuring() -> bool:
    """Return whether another process of this machine measures a model now."""
    if not CAN_LOOK:
        return False
    import fcntl

    try:
        file = os.open(lock_file(), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # nothing was ever measured here
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(file, fcntl.LOCK_UN)  # a process that was forked meanwhile would keep it beyond the end of the file
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


class MeasuringPause:
    """Called before each batch of a trial; waits while something is measured.

    Args:
        check: Ends the trial where its time is over.
        device: Device that trains; elsewhere than on the processor, training disturbs no measurement.

    Attributes:
        paused_s: Seconds for which the trial has waited.
    """

    def __init__(self, check: Callable[[], None], device: torch.device) -> None:
        self._check, self._waits = check, device.type == "cpu"
        self._began = time.monotonic()
        self.paused_s = 0.0

    def __call__(self) -> None:
        """Wait, and end the trial where its time is over.

        Raises:
            TrialInterrupted: The whole search ends.
            TrialTimeout: The trial has run longer than it may.
        """
        self._check()
        while self._waits and self.paused_s < LONGEST_SHARE * (time.monotonic() - self._began) and is_measuring():
            start = time.monotonic()
            time.sleep(LOOK_S)
            self.paused_s += time.monotonic() - start
            self._check()
