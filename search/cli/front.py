"""The commands `front` and `select`: which models a study found, and which one fits a target."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from paredown.search.cli.options import DEFAULT_STORAGE, AsJson, Storage, StudyName, open_study
from paredown.search.cli.output import print_csv, print_front, print_json, print_models, progress_console
from paredown.search.errors import ConfigError

OPTIONS = ("--max", "--min")


def front(
    study: StudyName,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
) -> None:
    """Show the Pareto front, with the change of each metric against the baseline."""
    opened = open_study(storage, study)
    if as_json:
        print_json(opened.front().to_dict(opened.folder))
    elif as_csv:
        print_csv(opened.front().to_dict(opened.folder)["models"])
    else:
        print_front(opened)


def select(
    study: StudyName,
    most: Annotated[
        list[str] | None,
        typer.Option("--max", help="Largest value allowed: METRIC=VALUE, e.g. size_bytes=60k", metavar="LIMIT"),
    ] = None,
    least: Annotated[
        list[str] | None,
        typer.Option("--min", help="Smallest value allowed: METRIC=VALUE, e.g. accuracy=0.95", metavar="LIMIT"),
    ] = None,
    export_to: Annotated[Path | None, typer.Option("--export", help="Also export the model into this folder.")] = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Choose the best model that keeps the limits: the best in the first objective, ties decided by the next."""
    from paredown.search.api.limits import limits_of
    from paredown.studies.selection import select as best
    from paredown.studies.summary import model_summary

    largest, smallest = _pairs(most, "--max"), _pairs(least, "--min")
    opened = open_study(storage, study)
    limits = limits_of(largest, smallest, opened.baseline, OPTIONS)
    model = best(opened.models, opened.stored.optimised_metrics, limits, opened.stored.objectives)
    summary = model_summary(model, opened.baseline, str(opened.folder))
    if export_to is not None:
        with progress_console().status("exporting"):
            summary["exported"] = str(opened.export(model, export_to)[0])
    if as_json:
        print_json({"study": study, "limits": {o.metric.name: o.limit for o in limits}, "model": summary})
        return
    print_models(opened, [model])
    typer.echo(f"candidate  {model.candidate}")
    if export_to is None:
        typer.echo(f"export it: paredown export {study} --trial {model.trial}")
    else:
        typer.echo(f"model      {summary['exported']}")


def _pairs(texts: Sequence[str] | None, option: str) -> dict[str, str]:
    """Return metric and value of each `METRIC=VALUE`."""
    pairs = {}
    for text in texts or ():
        name, sign, value = text.partition("=")
        if not sign:
            raise ConfigError(f"{option} {text}: write it as METRIC=VALUE, e.g. size_bytes=60k")
        pairs[name] = value
    return pairs
