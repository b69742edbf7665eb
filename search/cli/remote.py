"""The commands `submit`, `jobs`, `cancel` and `logs`, which ask a server."""

import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paredown.search.cli.options import AsJson
from paredown.search.cli.output import print_json, print_table
from paredown.search.errors import ConfigError
from paredown.studies.result import FINISHED

if TYPE_CHECKING:
    from paredown.search.api.client import Client

DEFAULT_URL = "http://127.0.0.1:8000"
LOOK_S = 1.0
"""Seconds between two looks at a log that is followed."""
Url = Annotated[str, typer.Option("--url", envvar="PAREDOWN_URL", help="Address of the server.")]
Study = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a study; `paredown jobs` lists them.")]


def submit(
    study_file: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="Study file.")],
    study: Annotated[str | None, typer.Option(help="Name of the study, in place of the file's.")] = None,
    trials: Annotated[int | None, typer.Option(help="Total number of trials.")] = None,
    priority: Annotated[int, typer.Option(help="Your studies run in falling order of it.")] = 0,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Submit a study to a server (its token is in PAREDOWN_TOKEN)."""
    document = _client(url).submit(study_file, name=study, trials=trials, priority=priority).details()
    if as_json:
        print_json(document)
        return
    place = f", number {document['position']} in the queue" if document["position"] else ""
    typer.echo(f"{document['study']}  {document['state']}{place}")


def jobs(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List the studies of a server that are yours, with their places in its queue."""
    studies = _client(url).studies()
    if as_json:
        print_json({"studies": studies})
        return
    head = ["study", "owner", "state", "place", "trials", "ends in", "submitted", "error"]
    print_table(
        head,
        [
            [
                one["study"],
                one["owner"],
                _state(one),
                str(one["position"] or ""),
                f"{sum(one['counts'].get(state, 0) for state in FINISHED)} of {one['trials']}",
                _left(one["estimate"]),
                datetime.fromtimestamp(one["created_at"]).isoformat(sep=" ", timespec="minutes"),
                one["error"].partition("\n")[0][:80],
            ]
            for one in studies
        ],
    )


def _state(study: dict[str, Any]) -> str:
    asked = study["stop_requested"]
    return f"{study['state']} ({asked} asked)" if asked else str(study["state"])


def _left(estimate: dict[str, Any] | None) -> str:
    """Return when a study is likely to end; empty where it rests, and why where nothing can be said."""
    if estimate is None:
        return ""
    seconds = estimate["ends_in_s"]
    return str(estimate["basis"]) if seconds is None else f"{timedelta(seconds=round(seconds))}"


def cancel(study: Study, url: Url = DEFAULT_URL) -> None:
    """End a study of a server within a batch; what is finished stays."""
    opened = _client(url).open_study(study)
    opened.cancel()
    typer.echo(f"{study}  {_state(opened.details())}")


def logs(
    study: Study,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the study rests.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Print the log of a study of a server."""
    opened = _client(url).open_study(study)
    offset, has_ended = 0, False
    while True:
        part = opened.log(offset)
        sys.stdout.write(part["text"])
        sys.stdout.flush()
        if part["next_offset"] == offset and (has_ended or not follow):
            return
        if part["next_offset"] == offset:
            has_ended = part["ended"]  # one look more: its last line may have come in between
            time.sleep(0 if has_ended else LOOK_S)
        offset = part["next_offset"]


def _client(url: str) -> "Client":
    import os

    from paredown.search.api.client import Client

    token = os.environ.get("PAREDOWN_TOKEN", "")
    if not token:
        raise ConfigError("PAREDOWN_TOKEN is not set; `paredown serve` shows a token at its first start")
    return Client(url, token)
