"""The command `dashboard`: a review of studies in the browser."""

from typing import Annotated

import typer

from paredown.search.cli.options import DEFAULT_STORAGE, Storage


def dashboard(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="Study whose page to open; without one, the list of all.")
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8080,
    host: Annotated[str, typer.Option(help="Address of this machine; others are refused.")] = "127.0.0.1",
    write: Annotated[bool, typer.Option("--write", help="Let notes be changed; all else stays read-only.")] = False,
) -> None:
    """Serve Optuna's dashboard to this machine alone, read-only, until Ctrl-C (needs the extra `dashboard`)."""
    from paredown.search.dashboard.server import serving

    with serving(storage, study, host, port, can_write_notes=write) as (server, address):
        typer.echo(address)
        typer.echo("Ctrl-C ends it; searches go on.", err=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:  # the way to end it
            return
