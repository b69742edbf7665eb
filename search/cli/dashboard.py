"""The command `dashboard`: a review of studies in the browser."""

from pathlib import Path
from typing import Annotated

import typer

from paredown.search.cli.options import DEFAULT_STORAGE, Storage
from paredown.search.errors import ConfigError


def dashboard(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="Study whose page to open; without one, the list of all.")
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8080,
    host: Annotated[str, typer.Option(help="Address of this machine; others are refused.")] = "127.0.0.1",
    socket: Annotated[
        Path | None, typer.Option(help="Unix socket in place of a port, for a proxy that knows its users.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Let notes be changed; all else stays read-only.")] = False,
) -> None:
    """Serve Optuna's dashboard to this machine alone, read-only, until Ctrl-C (needs the extra `dashboard`)."""
    from paredown.search.dashboard.server import serving, serving_at

    try:
        if socket is not None:
            if study is not None or write:
                raise ConfigError(f"--socket {socket}: it goes without a study and --write")
            with serving_at(storage, socket) as served:
                served.serve_forever()
            return
        with serving(storage, study, host, port, can_write_notes=write) as (server, address):
            typer.echo(address)
            typer.echo("Ctrl-C ends it; searches go on.", err=True)
            server.serve_forever()
    except KeyboardInterrupt:  # the way to end it
        return
