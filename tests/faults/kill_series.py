"""One search that is killed again and again: each time it is begun anew from where the killed one left it."""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import toy_trials
from third_driver import IN_TURN
from toy_searches import short

from paredown.search.drivers.catalogue import DRIVERS
from paredown.search.listener import ProgressListener
from paredown.search.run import search

MAX_EVENTS = 5
"""Largest number of events of a search after which it is killed; a trial has three of them."""
MAX_DELAY_S = 0.15
"""Largest number of seconds after the event; as long as a trial takes."""


class _Events(ProgressListener):
    """Writes a byte into a pipe for each thing that happens to a trial."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def _happened(self) -> None:
        os.write(self._pipe, b".")

    def started(self, trial: Any) -> None:
        self._happened()

    def epoch(self, number: int, epoch: int, metrics: Any) -> None:
        self._happened()

    def finished(self, number: int, result: Any) -> None:
        self._happened()


def kill_series(folder: str, database: str, study: str, kills: int, seed: int, trials: int) -> None:
    """Begin a search so many times, and kill it each time some events and a moment later.

    It runs in a process of its own, which has loaded everything: a search is a fork of it, and begins at once.
    """
    DRIVERS[IN_TURN.name] = IN_TURN
    moments = random.Random(seed)
    setup = toy_trials.toy_setup(Path(folder), sampler="random", driver="in_turn", trials=trials, study=study)
    for _ in range(kills):
        ours, theirs = os.pipe()
        if (pid := os.fork()) == 0:
            search(setup, database, run=short, lease_s=1.0, listener=_Events(theirs))
            os._exit(0)
        os.close(theirs)
        for _ in range(moments.randint(0, MAX_EVENTS)):
            os.read(ours, 1)
        time.sleep(moments.uniform(0, MAX_DELAY_S))
        os.kill(pid, signal.SIGKILL)
        os.close(ours)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL, f"seed {seed}: the search was over before it was killed"
