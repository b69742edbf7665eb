"""How processes start: as forks of a server that has loaded PyTorch, whose memory they share.

The server takes seconds to load, on a busy machine many; it does so beside whatever the search does meanwhile.
"""

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Any

PRELOADED = [
    "paredown.search.drivers.worker_process",
    "paredown.search.trial.run_trial",
    "torch._dynamo",
    "sklearn.datasets",
    "sklearn.model_selection",
]
"""What trials need; the last ones would otherwise be loaded, for a second each, in the first trial of every process."""


def worker_context() -> ForkServerContext | SpawnContext:
    """Return how processes that compute start."""
    # Threads that spin while they wait starve whoever shares their core: training took up to 30 times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if sys.platform != "linux":  # elsewhere PyTorch does not outlive a fork
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def begin_loading() -> None:
    """Let the server start to load, where none does yet; return at once."""
    if isinstance(worker_context(), ForkServerContext):
        _loading()


def is_loaded(within_s: float) -> bool:
    """Wait until processes start at once, but not for long; return whether they do.

    Args:
        within_s: Maximum number of seconds to wait.
    """
    if isinstance(worker_context(), SpawnContext):
        return True
    _loading().join(within_s)
    return not _loading().is_alive()


@contextlib.contextmanager
def main_module_hidden() -> Iterator[None]:
    """Keep a worker from importing the program that searches.

    Nothing in it is needed, and a script that is not guarded by `if __name__ == "__main__"` would search again in each
    worker.
    """
    names: dict[str, Any] = vars(sys.modules["__main__"])
    hidden: dict[str, Any] = {name: names[name] for name in ("__spec__", "__file__") if name in names}
    names["__spec__"] = None
    names.pop("__file__", None)  # None instead of no file breaks `inspect`, which other threads may use meanwhile
    try:
        yield
    finally:
        names.update(hidden)


@functools.cache
def _loading() -> threading.Thread:
    """Return the thread that ends when the server has loaded."""
    resource_tracker.ensure_running()  # the next call would start it, and then let interrupts through again
    with main_module_hidden(), _interrupts_held():
        forkserver.ensure_running()
    thread = threading.Thread(target=_start_first, daemon=True)
    thread.start()
    return thread


def _start_first() -> None:
    """Start a process that does nothing, which the server does when it has loaded."""
    process = worker_context().Process(target=_do_nothing, daemon=True)
    with contextlib.suppress(EOFError, OSError), main_module_hidden():  # the start of a worker says so once more
        process.start()
        process.join()


def _do_nothing() -> None:
    """The process need only start."""


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Keep Ctrl-C from a process that starts: its owner decides what that means, and ends it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
