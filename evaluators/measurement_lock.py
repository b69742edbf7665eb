"""One process of a machine measures at a time, and those who wait get their turn in the order in which they came.

A lock alone is not fair: who gives it back and wants it again, as `paredown device profile` does for minutes, finds it
free before the others look again. So everyone draws a ticket first, which is a locked file with a number, and waits
until nobody holds an earlier one. The system takes its locks from a process that is killed, and a file that nobody
has locked is no ticket.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

LOOK_S = 0.02
"""Seconds between two looks at whether it is one's turn."""
LOOKS_AT_LOCK = 50
"""Looks at a ticket after each of which there is one at the lock, which costs as much."""
PATIENCE = 5
"""Looks in a row at a lock that nobody takes, after which one waits no longer for the ticket: its holder is stopped."""


def lock_file() -> Path:
    """Return the file that is locked while a model is measured."""
    return Path(tempfile.gettempdir(), "paredown-measurement.lock")


@contextmanager
def measurement_lock() -> Iterator[None]:
    """Wait for one's turn, and let nobody else of this machine measure meanwhile."""
    lock = FileLock(lock_file(), mode=0o666)
    with _turn():
        lock.acquire(poll_interval=LOOK_S)
    try:
        yield
    finally:
        lock.release()


def waiting() -> list[Path]:
    """Return the tickets of those who wait, in their order; files without a holder are removed."""
    folder = _tickets()
    with _drawing(folder):
        return _held(folder)


def _tickets() -> Path:
    return Path(tempfile.gettempdir(), "paredown-measurement-tickets")


@contextmanager
def _drawing(folder: Path) -> Iterator[None]:
    """Let one process at a time add and remove tickets."""
    with FileLock(folder.with_suffix(".lock"), mode=0o666).acquire(poll_interval=LOOK_S / 20):
        if not folder.is_dir():
            folder.mkdir()
            folder.chmod(0o777)  # all users of the machine wait in one line
        yield


@contextmanager
def _turn() -> Iterator[None]:
    """Draw a ticket, wait for all who hold an earlier one, and give it back at the end."""
    folder = _tickets()
    with _drawing(folder):
        earlier = _held(folder)
        number = 1 + max((int(each.name) for each in earlier), default=0)
        ticket = FileLock(folder / str(number), mode=0o666)
        ticket.acquire()
    try:
        for each in earlier:
            _wait_for(each)
        yield
    finally:
        ticket.release()


def _wait_for(ticket: Path) -> None:
    """Wait until a ticket is given back, or its holder leaves the lock alone although it is free."""
    looks = unused = 0
    while unused < PATIENCE and _is_held(ticket):
        time.sleep(LOOK_S)
        looks += 1
        if looks % LOOKS_AT_LOCK == 0:
            unused = 0 if _is_held(lock_file()) else unused + 1


def _held(folder: Path) -> list[Path]:
    numbered = [file for file in folder.iterdir() if file.name.isdigit()]
    held = [file for file in sorted(numbered, key=lambda file: int(file.name)) if _is_held(file)]
    for file in set(numbered) - set(held):
        file.unlink(missing_ok=True)
    return held


def _is_held(ticket: Path) -> bool:
    if not ticket.exists():
        return False
    try:
        with FileLock(ticket, timeout=0, mode=0o666):
            return False
    except Timeout:
        return True
