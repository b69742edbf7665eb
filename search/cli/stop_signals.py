"""What SIGINT and SIGTERM do to a command; nothing heavy is imported here, since it is in force before all imports.

Whatever is finished is stored at every moment, so that ending the process at once loses nothing.
"""

import logging
import os
import signal
import sys
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPED = 3
SENTENCE = "stopped; all that is finished is saved, the same command goes on"
_interrupted = False
_CLEAR_LINE_AND_SHOW_CURSOR = "\r\x1b[2K\x1b[?25h"


def end_at_once() -> None:
    """Let both signals end this process at once, with one sentence and exit code 3.

    No exception is raised: an import or a library would turn it into another one, or print it.
    """
    _answer(_end)


def raise_interrupt() -> None:
    """Let the first signal raise KeyboardInterrupt, so that a command can clean up; a second one ends the process.

    It changes nothing where `end_at_once` is not in force: in a test, or in a program that uses this one.
    """
    if signal.getsignal(signal.SIGINT) is _end or signal.getsignal(signal.SIGTERM) is _end:
        _answer(_raise)


def was_interrupted() -> bool:
    """Return whether `raise_interrupt` has raised: what a library made of it is no bug."""
    return _interrupted


def ignore_signals() -> None:
    """Ignore both signals: the command has ended, and only the interpreter is still to leave."""
    _answer(signal.SIG_IGN)


def _answer(answer: Any) -> None:
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, answer)


def _end(number: int, frame: Any) -> NoReturn:
    restored = _CLEAR_LINE_AND_SHOW_CURSOR if sys.stderr.isatty() else ""
    os.write(2, f"{restored}paredown: {SENTENCE}\n".encode())
    os._exit(STOPPED)


def _raise(number: int, frame: Any) -> NoReturn:
    global _interrupted
    _interrupted = True
    _answer(_end)
    logging.disable()  # libraries log what interrupts them, with its traceback
    sys.unraisablehook = lambda unraisable: None
    raise KeyboardInterrupt
