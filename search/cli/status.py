"""The command `status`: what the searches of a study do, seen from another terminal."""

import time
from typing import Annotated, Any

import typer

from paredown.search.cli.options import DEFAULT_STORAGE, AsJson, Storage, open_study
from paredown.search.cli.output import print_json

WATCH_S = 2.0
"""Seconds between two looks with --watch."""


def status(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="Name of a study; without one, all of the database.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every two seconds, until Ctrl-C.")] = False,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Show what runs: trials with their epochs, pace, time left, who runs them, and the last failures."""
    if watch and not as_json:
        _watch(storage, study)
        return
    found = _statuses(storage, study)
    if as_json:
        print_json({"studies": found})
        return
    typer.echo(_text(found))


def _statuses(storage: str, name: str | None) -> list[dict[str, Any]]:
    from paredown.search.monitoring.status import study_status
    from paredown.studies.records import list_studies

    names = [name] if name is not None else [row["study"] for row in list_studies(storage)]
    return [study_status(open_study(storage, one).stored) for one in names]


def _text(found: list[dict[str, Any]]) -> str:
    from paredown.search.monitoring.status import status_lines

    return "\n".join(line for status in found for line in status_lines(status)) or "no studies"


def _watch(storage: str, name: str | None) -> None:
    from rich.live import Live
    from rich.text import Text

    try:
        with Live(Text(_text(_statuses(storage, name))), auto_refresh=False) as live:
            while True:
                time.sleep(WATCH_S)
                live.update(Text(_text(_statuses(storage, name))), refresh=True)
    except KeyboardInterrupt:  # the way to end it
        return
