"""The command `paredown`.

Nothing heavy is imported here: each command imports what it needs when it runs.
"""

import os
from collections.abc import Callable
from typing import Annotated, Any

import typer

from paredown.search.cli import device_measuring  # noqa: F401
from paredown.search.cli.adopt import adopt
from paredown.search.cli.bench import bench
from paredown.search.cli.check import check
from paredown.search.cli.compress import compress
from paredown.search.cli.dashboard import dashboard
from paredown.search.cli.data import data
from paredown.search.cli.device import device
from paredown.search.cli.exit_codes import InterruptibleGroup, run_command
from paredown.search.cli.export import export, predict, report
from paredown.search.cli.families import families
from paredown.search.cli.front import front
from paredown.search.cli.remote import cancel, jobs, logs, submit
from paredown.search.cli.schema import schema
from paredown.search.cli.search import search
from paredown.search.cli.select import select
from paredown.search.cli.sensitivity import sensitivity
from paredown.search.cli.serve import serve, worker
from paredown.search.cli.show import show
from paredown.search.cli.status import status
from paredown.search.cli.studies import studies
from paredown.search.cli.token import token
from paredown.search.cli.unpack import unpack
from paredown.search.cli.waiting_line import enqueue, retry

app = typer.Typer(
    cls=InterruptibleGroup,
    help="Search architecture and compression together; get a Pareto front of small, fast, exported models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
COMMANDS = (
    search,
    status,
    dashboard,
    show,
    front,
    select,
    check,
    export,
    report,
    predict,
    enqueue,
    retry,
    adopt,
    compress,
    sensitivity,
    families,
    schema,
    unpack,
    serve,
    worker,
    submit,
    jobs,
    cancel,
    logs,
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(studies, name="studies")
app.add_typer(bench, name="bench")
app.add_typer(data, name="data")
app.add_typer(device, name="device")
app.add_typer(token, name="token")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"paredown {version('paredown')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main(command: Callable[[], Any] = app) -> None:
    """Run the command line; see `paredown.search.cli.exit_codes` for how it may end."""
    # Read when torch is loaded, which is later. Threads that spin while they wait for one that another process holds up
    # took ten times the processor time where all cores were busy; those that sleep, a third more.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    run_command(command)
