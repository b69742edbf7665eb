"""Who is told how far the reading of data is, which may take minutes, and what came of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from paredown.evaluators.tasks.data_summary import DataSummary


@dataclass(frozen=True)
class DataListener:
    """What a command does with news of the data.

    Attributes:
        on_images: Told what is done, the number of images that are done, and of all.
        on_loaded: Told the summary of a task that was loaded.
    """

    on_images: Callable[[str, int, int], None]
    on_loaded: Callable[[DataSummary], None]


_listener: ContextVar[DataListener | None] = ContextVar("listener", default=None)


@contextmanager
def watching(listener: DataListener) -> Iterator[None]:
    """Have a listener told while the body runs."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell_images(what: str, done: int, total: int) -> None:
    """Tell the listener, if there is one, how far it is."""
    listener = _listener.get()
    if listener is not None:
        listener.on_images(what, done, total)


def tell_loaded(summary: Callable[[], DataSummary] | None) -> None:
    """Tell the listener, if there is one, what was loaded; the summary is made for it alone."""
    listener = _listener.get()
    if listener is not None and summary is not None:
        listener.on_loaded(summary())
