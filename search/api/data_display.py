"""What a command or a program shows of the data that it reads: a bar, then one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.status import Status

from paredown.evaluators.tasks.data_summary import DataSummary
from paredown.evaluators.tasks.watching import DataListener, watching


@contextmanager
def reading_data(console: Console, status: Status | None = None, *, says_line: bool = True) -> Iterator[None]:
    """Show how far the reading of data is, and then in one line what it is.

    Args:
        console: For progress and remarks.
        status: A display that is there already and is told instead of a bar of its own.
        says_line: Whether to print the line.
    """

    def on_loaded(summary: DataSummary) -> None:
        if says_line:
            console.print(summary.line, markup=False, highlight=False, soft_wrap=True)

    if status is not None:
        shown = status
        listener = DataListener(lambda what, done, total: shown.update(f"{what}: {done:,} of {total:,}"), on_loaded)
        with watching(listener):
            yield
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("loading the task", total=None)

        def on_images(what: str, done: int, total: int) -> None:
            progress.update(bar, description=what, completed=done, total=total)

        with watching(DataListener(on_images, on_loaded)):
            yield
