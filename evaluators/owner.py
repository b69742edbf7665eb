"""Ends a process as soon as the one that started it has ended, so that nothing is left behind by a kill."""

import multiprocessing
import os
import threading
from multiprocessing.connection import wait


def end_with_owner() -> None:
    """Watch the process that started this one from now on, and end this one with it, whatever it is doing."""
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    owner = multiprocessing.parent_process()
    if owner is not None:
        wait([owner.sentinel])
        os._exit(1)
