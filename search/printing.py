"""Results on standard output: tables, CSV and JSON; progress and remarks on standard error.

What loads PyTorch is imported where it is used: the command line imports this file at once.
"""

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for annotations alone: --help must not load what these load
    from rich.console import Console

    from paredown.studies.front import Model
    from paredown.studies.study import Study

PIPE_WIDTH = 200
"""A pipe has no width of its own."""


def front_document(study: "Study") -> dict[str, Any]:
    """Return the front of a study as the stable JSON."""
    from paredown.search.run import best_models
    from paredown.studies.summary import front_summary

    objectives = [o.metric.name for o in study.objectives if o.optimised]
    return front_summary(study.name, objectives, study.baseline(), best_models(study), study.folder)


def print_models(study: "Study", models: "Sequence[Model]") -> None:
    """Print models as a table, the baseline first."""
    from paredown.search.tables import model_rows

    print_table(*model_rows(study, models))


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table as wide as the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*head, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH).print(table)


def print_csv(models: Sequence[dict[str, Any]]) -> None:
    """Print model summaries as comma-separated values."""
    names = list(models[0]["metrics"]) if models else []
    writer = csv.writer(sys.stdout)
    writer.writerow(["trial", *names, *(f"delta_{name}" for name in names), "candidate", "artifact"])
    for model in models:
        values = [model["metrics"].get(name, "") for name in names]
        deltas = [model["deltas"].get(name, "") for name in names]
        candidate = json.dumps(model["candidate"])
        writer.writerow([model["trial"], *values, *deltas, candidate, model["artifact"]])


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document."""
    print(json.dumps(document, indent=2, allow_nan=False))


def progress_console() -> "Console":
    """Return the console for progress and remarks: standard error."""
    from rich.console import Console

    return Console(stderr=True)


def relative(path: Path) -> Path:
    """Return a path as seen from the working directory, where it lies below it."""
    absolute = path.absolute()
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute
