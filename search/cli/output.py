"""Results on standard output: tables, CSV and JSON; progress and remarks on standard error.

What loads PyTorch is imported where it is used: the command line imports this file at once.
"""

import csv
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paredown.evaluators.standard_output import output_to_stderr

if TYPE_CHECKING:  # for annotations alone: --help must not load what these load
    from rich.console import Console, RenderableType
    from rich.table import Table

    from paredown.search.api.study import Study
    from paredown.studies.errors import ExportRefused
    from paredown.studies.front import Model

PIPE_WIDTH = 200
"""A pipe has no width of its own."""
LAST_COLUMN = 20
"""Number of characters that a table leaves for its last column."""


def print_models(study: "Study", models: "Sequence[Model]", baseline: "Model | None" = None) -> None:
    """Print models as a table, the baseline first.

    Args:
        study: Their study.
        models: The models.
        baseline: The baseline as the device has it that the models are looked at on; None for that of the study.
    """
    from paredown.search.api.model_table import ModelTable

    table = ModelTable.of(study.stored, study.models)
    table = table if baseline is None else replace(table, baseline=baseline)
    print_tall_table(table.head, table.rows(models))


def print_front(study: "Study") -> None:
    """Print the front of a study with its limits; where no model keeps them, the nearest ones, and why."""
    front = study.front()
    print_models(study, front)
    if texts := [limit["text"] for limit in front.limits.values()]:
        print(f"limits  {', '.join(texts)}")
    if front.remark:
        progress_console().print(front.remark, markup=False, highlight=False, soft_wrap=True)


def print_tall_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose cells may have two lines; where it is too wide for the terminal, in several lines a row."""
    flat = [[cell.replace("\n", " ") for cell in row] for row in rows]
    _print(_table(head, flat) if fits(head, flat) else _stacked(head, rows, _console().width))


def fits(head: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Return whether a table fits the terminal, given a little room for its last column, which may be folded."""
    return sum(_widths(head, rows)) + 2 * (len(head) - 1) + LAST_COLUMN <= _console().width


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, markup: bool = False) -> None:
    """Print a table as wide as the terminal.

    Args:
        head: Names of the columns.
        rows: Cells.
        markup: Whether brackets in cells are Rich's markup; then texts of the user's must be escaped.
    """
    from rich.markup import escape

    _print(_table(head, rows if markup else [[escape(cell) for cell in row] for row in rows]))


def _console() -> "Console":
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def _print(table: "RenderableType") -> None:
    """Print without the blanks that pad the last column, which disturb where lines are cut or copied."""
    console = _console()
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> "Table":
    from rich.table import Table

    table = Table(*head, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*row)
    return table


def _stacked(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> "RenderableType":
    """Return a table of several lines a row: all cells but the last, which may have two lines, and below the last."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Column, Table

    widths = _widths(head, rows)
    gap = 2 if sum(widths) + 2 * (len(widths) - 1) <= width else 1
    parts: list[RenderableType] = []
    for row in rows:
        columns = [Column(name, min_width=size) for name, size in zip(head[:-1], widths, strict=True)]
        table = Table(
            *columns, box=None, header_style="bold", pad_edge=False, padding=(0, gap, 0, 0), show_header=not parts
        )
        table.add_row(*row[:-1])
        parts += [table, Padding(row[-1], (0, 0, 0, widths[0] + gap))]
    return Group(*parts)


def _widths(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """Return how wide each column but the last is."""
    from rich.text import Text

    columns = list(zip(head, *rows, strict=True))[:-1]
    return [
        max(len(line) for cell in column for line in Text.from_markup(cell).plain.split("\n")) for column in columns
    ]


def print_csv(models: Sequence[dict[str, Any]]) -> None:
    """Print model summaries as comma-separated values."""
    names = list(dict.fromkeys(name for model in models for name in model["metrics"]))
    writer = csv.writer(sys.stdout)
    writer.writerow(["trial", *names, *(f"delta_{name}" for name in names), "candidate", "artifact"])
    for model in models:
        values = [model["metrics"].get(name, "") for name in names]
        deltas = [model["deltas"].get(name, "") for name in names]
        candidate = json.dumps(model["candidate"])
        writer.writerow([model["trial"], *values, *deltas, candidate, model["artifact"]])


_redirected: ContextVar[ExitStack | None] = ContextVar("redirected", default=None)


def document_alone() -> ExitStack:
    """Send what is printed to standard error until `print_json` is called, or what is returned is closed."""
    stack = ExitStack()
    stack.enter_context(output_to_stderr())
    _redirected.set(stack)
    return stack


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document."""
    if (redirected := _redirected.get()) is not None:
        redirected.close()
    print(json.dumps(document, indent=2, allow_nan=False))


def progress_console() -> "Console":
    """Return the console for progress and remarks: standard error."""
    from rich.console import Console

    return Console(stderr=True)


def print_refused(refused: "Sequence[ExportRefused]") -> None:
    """Print, as remarks, why models were not exported."""
    for reason in refused:
        progress_console().print(f"not exported: {reason}", markup=False)


def relative(path: Path) -> Path:
    """Return a path as seen from the working directory, where it lies below it."""
    absolute = path.absolute()
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute
