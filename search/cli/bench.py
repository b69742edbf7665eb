"""The commands `paredown bench ...`; as in `paredown.search.cli.app`, nothing heavy is imported at once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paredown.search.cli.exit_codes import fail
from paredown.search.cli.output import print_json, print_table, progress_console
from paredown.search.cli.stop_signals import STOPPED
from paredown.search.errors import ConfigError

if TYPE_CHECKING:  # for annotations alone
    from collections.abc import Sequence

    from paredown.search.bench.landscape import Landscape
    from paredown.search.bench.race import Run
    from paredown.search.bench.standing import Standing

bench = typer.Typer(help="Race samplers over tables of evaluated networks.", no_args_is_help=True)


@bench.callback()
def _several() -> None:
    """Race samplers over tables of evaluated networks."""


@bench.command()
def samplers(
    table: Annotated[Path, typer.Option(help="Evaluated networks: .csv, .parquet or .json.")],
    spec: Annotated[Path, typer.Option(help="What its columns mean; see examples/nas-bench-macro.yaml.")],
    named: Annotated[
        str,
        typer.Option("--samplers", help="Comma-separated: samplers, outside tools, package.module:function, or all."),
    ] = "all",
    trials: Annotated[str, typer.Option(help="Number of evaluations in a run.")] = "100",
    seeds: Annotated[str, typer.Option(help="Number of runs of each sampler, seeded 0, 1, ...")] = "10",
    at: Annotated[str, typer.Option(help="Numbers of evaluations after which the share is shown.")] = "25,50,100",
    workers: Annotated[str, typer.Option(help="Number of processes, or auto for one per core.")] = "auto",
    plot: Annotated[Path | None, typer.Option(help="Also draw the curves: .html, or .svg (needs kaleido).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
) -> None:
    """Race samplers over a table: what share of the true front's hypervolume is found by how many evaluations."""
    counts = {name: _count(text, f"--{name}") for name, text in (("trials", trials), ("seeds", seeds))}
    processes = None if workers == "auto" else _count(workers, "--workers", "or auto")
    shown_at = [_count(text, "--at") for text in at.split(",")]

    from paredown.search.bench.entries import entries
    from paredown.search.bench.plot import checked_plot, write_plot
    from paredown.search.bench.standing import checkpoints, document, standings
    from paredown.search.bench.table import read_table

    names = entries(named)
    if plot is not None:
        checked_plot(plot)
    landscape = read_table(table, spec)
    runs = _race(landscape, names, range(counts["seeds"]), counts["trials"], processes)
    places, points = standings(landscape, runs), checkpoints(shown_at, counts["trials"])
    if plot is not None:
        write_plot(places, table.stem, plot)
    if as_json:
        print_json({"table": str(table), "spec": str(spec), **document(landscape, places, points)})
    else:
        _print_standings(landscape, places, points)
        if plot is not None:
            typer.echo(f"plot  {plot}")


def _race(
    landscape: "Landscape", names: "Sequence[str]", seeds: "Sequence[int]", trials: int, workers: int | None
) -> "list[Run]":
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from paredown.search.bench.race import race

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("runs"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=progress_console()) as progress:
        bar = progress.add_task("racing", total=len(names) * len(seeds))

        def on_run(run: "Run") -> None:
            progress.update(bar, advance=1, description=f"{run.sampler}, seed {run.seed}")

        try:
            return race(landscape, names, seeds, trials, workers, on_run)
        except KeyboardInterrupt:
            progress.stop()
            fail("stopped; a race saves nothing on its way", STOPPED)


def _print_standings(landscape: "Landscape", places: "Sequence[Standing]", at: "Sequence[int]") -> None:
    end, seeds = at[-1], len(places[0].runs)
    counts = landscape.describe()
    typer.echo(
        f"{counts['networks']} networks, {counts['failing']} of them fail, {counts['on_the_front']} on the true front. "
        f"Share of its hypervolume after {', '.join(map(str, at))} evaluations,\n"
        f"mean of {seeds} seed{'s' * (seeds > 1)}{' ± 95 % interval' * (seeds > 1)}; the gap to 1; seconds per "
        "proposal, all and the last 10; evaluations lost to\n"
        "networks that fail, are proposed again or are not in the table."
    )
    head = ["sampler", *map(str, at), f"gap at {end}", "s/ask", "last", "lost"]
    rows = []
    for place in sorted(places, key=lambda place: -place.share(end).mean):
        seconds = place.ask_seconds()
        rows.append(
            [
                place.sampler,
                *(_shown(place.share(n).mean, place.share(n).half_width) for n in at),
                f"{1 - place.share(end).mean:.4f}",
                f"{seconds['median']:.4f}",
                f"{seconds['last_10_median']:.4f}",
                f"{sum(place.per_run(count) for count in ('failed', 'duplicates', 'outside')):.1f}",
            ]
        )
    print_table(head, rows)


def _shown(mean: float, half_width: float | None) -> str:
    return f"{mean:.4f}" if half_width is None else f"{mean:.4f} ±{half_width:.4f}"


def _count(text: str, option: str, more: str = "") -> int:
    if not text.strip().isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise ConfigError(
            f"{option}: {text!r} is not allowed; allowed: whole numbers from 1{' ' + more if more else ''}"
        )
    return int(text)
