"""A process beside that of the search, for work that may take long or hang: it can be ended at any moment."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.pool import ExceptionWithTraceback  # type: ignore[attr-defined]  # not in the stubs
from typing import Any, NoReturn

from paredown.evaluators.owner import end_with_owner
from paredown.search.drivers.process_server import main_module_hidden, worker_context

Tell = Callable[[Any], None]
Work = Callable[..., None]
"""(what tells the search of something, further arguments) -> nothing; a function of a module, as for all processes."""
CLEAN_UP_S = 2.0
"""Seconds in which a process that is ended may clean up after itself."""
TOLD, BROKE = "told", "broke"


class SideProcess:
    """Runs a function in a process of its own, which has loaded what trials need and ends with the search's.

    Args:
        work: Called with a function that sends something to `messages`, and with the arguments.
        arguments: What else it is called with.
    """

    def __init__(self, work: Work, *arguments: Any) -> None:
        context = worker_context()
        self._pipe, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_run, args=(theirs, work, arguments), daemon=True)
        with main_module_hidden():
            self._process.start()
        theirs.close()

    @property
    def is_over(self) -> bool:
        """Whether the process has ended, by itself or otherwise."""
        return not self._process.is_alive()

    def messages(self, until: Callable[[], float]) -> Iterator[Any]:
        """Yield what the function tells, until it returns.

        Args:
            until: Returns the `time.monotonic()` up to which the next message is waited for.

        Raises:
            TimeoutError: The next message has not come in time.
            Exception: What the function raised.
        """
        while True:
            if not self._pipe.poll(max(0.0, until() - time.monotonic())):
                raise TimeoutError
            try:
                kind, content = self._pipe.recv()
            except EOFError:
                self._process.join()
                if self._process.exitcode:
                    raise RuntimeError(f"the process ended with exit code {self._process.exitcode}") from None
                return
            if kind == BROKE:
                raise content
            yield content

    def end(self) -> None:
        """End the process, which may clean up if it does so soon."""
        self._process.terminate()
        self._process.join(CLEAN_UP_S)
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _run(pipe: "Connection[Any, Any]", work: Work, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the search decides what Ctrl-C means
    signal.signal(signal.SIGTERM, _leave)
    end_with_owner()
    os.dup2(2, 1)  # standard output is for results
    try:
        work(lambda content: pipe.send((TOLD, content)), *arguments)
    except Exception as error:
        pipe.send((BROKE, ExceptionWithTraceback(error, error.__traceback__)))


def _leave(number: int, frame: Any) -> NoReturn:
    sys.exit(0)
