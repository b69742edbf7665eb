"""The commands `serve` and `worker`: the service, and those who run its studies."""

from pathlib import Path
from typing import Annotated

import typer

from paredown.search.cli.options import DEFAULT_STORAGE, Storage
from paredown.search.errors import ConfigError


def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's needs a token.")
    ] = "127.0.0.1",
    storage: Storage = DEFAULT_STORAGE,
    token_file: Annotated[
        Path | None, typer.Option(help="File for the first admin token, in place of standard output.")
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="Module from which studies may import functions. May be repeated.", metavar="PACKAGE.MODULE"),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder in which the data of studies must lie.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the studies.")] = Path("paredown-out"),
    root_path: Annotated[str, typer.Option(help="Path under which a reverse proxy serves it, e.g. /paredown.")] = "",
    public_host: Annotated[
        list[str] | None, typer.Option(help="Name by which browsers may call it. May be repeated.")
    ] = None,
    upload_limit: Annotated[
        str, typer.Option(help="Maximum size of an uploaded data set, e.g. 500MB.", metavar="SIZE")
    ] = "1GB",
    worker: Annotated[bool, typer.Option(help="Whether a worker runs on this machine.")] = True,
    dashboard_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port of Optuna's dashboard for administrators; 0 takes a free one."),
    ] = None,
) -> None:
    """Serve the API of the service until Ctrl-C (needs paredown[service])."""
    from paredown.search.service.server import serve as run
    from paredown.search.service.settings import Settings
    from paredown.search.study_file.quantity import size_bytes

    if root_path and (not root_path.startswith("/") or root_path.endswith("/")):
        raise ConfigError(f"--root-path {root_path}: write it as /prefix")
    if data is not None and not data.is_dir():
        raise ConfigError(f"--data {data}: is no folder")
    try:
        limit = int(size_bytes(upload_limit))
    except ConfigError as error:
        raise ConfigError(f"--upload-limit: {error}") from None
    settings = Settings(storage, out, data, tuple(allow or ()), root_path, tuple(public_host or ()), limit)
    try:
        run(settings, host, port, typer.echo, token_file, has_worker=worker, dashboard_port=dashboard_port)
    except KeyboardInterrupt:  # the way to end it
        return


def worker(
    storage: Storage = DEFAULT_STORAGE,
    ray_address: Annotated[str | None, typer.Option(help="Address of a Ray cluster that runs the trials.")] = None,
    resource: Annotated[
        list[str] | None,
        typer.Option(
            help="What this machine, or the cluster, has for studies with `resources: {custom: {NAME: 1}}`. "
            "May be repeated.",
            metavar="NAME",
        ),
    ] = None,
    until_empty: Annotated[bool, typer.Option("--until-empty", help="End when no study waits.")] = False,
) -> None:
    """Run the studies that wait in the queue, one after the other, until Ctrl-C."""
    from paredown.search.service.worker import Worker

    Worker(storage, ray_address, offers=resource or ()).run(until_empty=until_empty)
