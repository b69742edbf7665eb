"""Who waits to measure gets the turn before the process that measures now gets it again."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from paredown.evaluators.measurement_lock import lock_file, measurement_lock, waiting

MEASURES = """
import sys
from paredown.evaluators.measurement_lock import measurement_lock
name, log, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
for _ in range(times):
    with measurement_lock():
        with open(log, "a") as file:
            file.write(name)
        print("measuring", flush=True)
        sys.stdin.readline()
"""
"""Measures several times, and goes on each time when it is told to."""


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody else of this machine measure here."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


class Measurer:
    """A process that measures."""

    def __init__(self, name: str, folder: Path, times: int = 1) -> None:
        self.log = folder / "log"
        self.process = subprocess.Popen(
            [sys.executable, "-c", MEASURES, name, str(self.log), str(times)],
            env={**os.environ, "TMPDIR": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_until_measuring(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "measuring\n"

    def go_on(self) -> None:
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)

    def kill(self) -> None:
        self.process.kill()  # SIGKILL: it cannot release anything itself
        self.process.communicate()


def wait_until(holds: Callable[[], bool], otherwise: str) -> None:
    """Wait until something holds of other processes, which tell nobody that they wait."""
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until, otherwise
        time.sleep(0.01)


@contextmanager
def measurers(folder: Path, *names: str) -> Iterator[list[Measurer]]:
    """Run a process that measures now and wants to measure once more, and others that wait, in their order."""
    found: list[Measurer] = []
    try:
        for at, name in enumerate(names):
            found.append(Measurer(name, folder, 1 if at else 2))
            if not at:
                found[0].wait_until_measuring()
            wait_until(lambda at=at: len(waiting()) >= at, f"{name} does not wait")
        yield found
    finally:
        for each in found:
            each.kill()


def test_all_who_wait_measure_in_their_order_before_the_first_measures_again(tmp_path: Path) -> None:
    with measurers(tmp_path, "P", "a", "b", "c") as everyone:
        holder, *others = everyone
        holder.go_on()
        for each in others:
            each.wait_until_measuring()
            each.go_on()
        holder.wait_until_measuring()
        assert holder.log.read_text() == "PabcP"
        assert waiting() == []


def test_nobody_waits_for_one_that_was_killed_while_it_waited(tmp_path: Path) -> None:
    with measurers(tmp_path, "P", "a", "b") as (holder, first, second):
        first.kill()
        # Whoever looks whether a ticket is held holds it for that moment.
        wait_until(lambda: len(waiting()) == 1, "the ticket of one that was killed counts")
        holder.go_on()
        second.wait_until_measuring()
        second.go_on()
        holder.wait_until_measuring()
        assert holder.log.read_text() == "PbP"


def test_the_first_who_waits_measures_when_the_one_that_measures_is_killed(tmp_path: Path) -> None:
    with measurers(tmp_path, "P", "a", "b") as (holder, first, second):
        holder.kill()
        first.wait_until_measuring()
        first.kill()
        second.wait_until_measuring()
        assert holder.log.read_text() == "Pab"


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system cannot stop a process")
def test_one_that_is_stopped_while_it_waits_keeps_nobody_for_long(tmp_path: Path) -> None:
    with measurers(tmp_path, "P", "a", "b") as (holder, first, second):
        first.process.send_signal(signal.SIGSTOP)
        holder.go_on()
        second.wait_until_measuring()
        first.process.send_signal(signal.SIGCONT)
        for each in (second, first, holder):
            each.go_on()
        for each in (first, holder):  # in either order: the holder may have given up waiting too
            each.wait_until_measuring()
        assert holder.log.read_text() in ("PbaP", "PbPa")


def test_files_that_others_have_left_are_no_tickets(tmp_path: Path) -> None:
    with measurement_lock():
        assert lock_file().parent == tmp_path
    for name in ("1", "7", "notes.txt"):
        (tmp_path / "paredown-measurement-tickets" / name).touch()
    with measurement_lock():
        assert waiting() == []
    left = sorted(file.name for file in (tmp_path / "paredown-measurement-tickets").iterdir())
    assert left == ["notes.txt"]
