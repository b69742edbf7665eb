"""The command `data`: a look at the data of a task."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paredown.search.cli.compress import TASKS_HELP
from paredown.search.cli.options import AsJson
from paredown.search.cli.output import print_json, print_table, progress_console, relative
from paredown.search.errors import ConfigError

if TYPE_CHECKING:  # for annotations alone: these load torch, and --help must not
    from paredown.evaluators.tasks.data_summary import DataSummary

data = typer.Typer(help="Look at the data of a task.", no_args_is_help=True)


@data.callback()
def _only_groups() -> None:
    """Keep `check` a command of its own: with one command Typer would leave its name out."""


@data.command()
def check(
    task: Annotated[str, typer.Argument(help=TASKS_HELP)],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Page to write, with some images of each class.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a task's data is: images by class and split, files that are not used, duplicates."""
    from paredown.evaluators.errors import TaskError
    from paredown.evaluators.tasks.contact_sheet import write_contact_sheet
    from paredown.evaluators.tasks.spec import load_task
    from paredown.search.api.data_display import reading_data
    from paredown.search.study_file.sections import TaskSection
    from paredown.search.study_file.setup import task_spec

    if out is not None and (out.suffix.lower() not in {".html", ".htm"} or out.is_dir()):
        raise ConfigError(f"--out: {out} is not allowed; allowed: a file that ends in .html")
    name, _, option = task.partition(":")
    options = {"skip_damaged": True} if name == "image_folder" else {}  # they are listed below
    section = TaskSection(name=name, shorthand=option or None, options=options)
    console = progress_console()
    try:
        with reading_data(console, says_line=False):
            loaded = load_task(task_spec(section, "command line", Path()))
    except TaskError as error:
        raise ConfigError(f"task.{name}.{error}") from error
    if loaded.summary is None:
        raise ConfigError(f"task {name!r} has nothing to say of its data")
    summary = loaded.summary()
    if out is not None:
        write_contact_sheet(loaded, summary, out)
    if as_json:
        print_json({"task": task, "page": None if out is None else str(out), **summary.to_json()})
        return
    _print(summary)
    if out is not None:
        typer.echo(f"page    {relative(out)}")


def _print(summary: "DataSummary") -> None:
    splits = list(summary.counts)
    rows = [[name, *(f"{summary.counts[split][name]:,}" for split in splits)] for name in summary.counts["train"]]
    rows.append(["(all)", *(f"{sum(summary.counts[split].values()):,}" for split in splits)])
    print_table(["class", *splits], rows)
    for line in summary.lines:
        typer.echo(line)
