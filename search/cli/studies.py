"""The commands `studies`, `show` and `retry`: what a database holds, and failed trials once more."""

from textwrap import shorten
from typing import Annotated, get_args

import typer

from paredown.search.cli.options import DEFAULT_STORAGE, AsJson, Storage, StudyName, open_study
from paredown.search.cli.output import print_json, print_table
from paredown.search.errors import ConfigError, check_name
from paredown.studies.region import limit_texts, limits_summary
from paredown.studies.result import CAUSE, Cause

FAILURES = {cause: cause for cause in get_args(Cause) if cause != "infeasible"}
"""Causes of failures, as a catalogue."""
REASON = 120
"""Number of characters of a reason that are shown; --json has all of it."""


def studies(storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False) -> None:
    """List the studies of a database."""
    from paredown.studies.records import list_studies

    rows = list_studies(storage)
    if as_json:
        print_json({"studies": rows})
        return
    print_table(
        ["study", "created", "trials", "folder"],
        [
            [r["study"], r["created_at"], ", ".join(f"{n} {s}" for s, n in r["trials"].items()), r["folder"]]
            for r in rows
        ],
    )


def show(study: StudyName, storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False) -> None:
    """Show every trial of a study, with the reason of those that failed or were rejected and what steps left alone."""
    opened = open_study(storage, study).stored
    rows, models = opened.rows(), {m.trial: m for m in opened.models()}
    for row in rows:
        row["skipped"] = row["facts"].get("skipped", {})
        row["cause"] = row["facts"].get(CAUSE, "")
        if row["number"] in models:
            row["metrics"] = {n: m.value for n, m in models[row["number"]].measurements.items()}
    if as_json:
        document = {"study": study, "config": opened.config, "counts": opened.counts(), "trials": rows}
        print_json(document | {"limits": limits_summary(opened.objectives), "sensitivity": opened.sensitivity()})
        return
    metrics = [o.metric for o in opened.objectives]
    if texts := limit_texts(opened.objectives):
        typer.echo(f"limits  {', '.join(texts)}")
    from paredown.search.api.model_table import ModelTable

    table = ModelTable.of(opened)
    lines = []
    for row in rows:
        values = [m.format(row["metrics"][m.name]) if "metrics" in row else "" for m in metrics]
        left = ", ".join(f"{table.step_name(step)} {len(layers)}" for step, layers in row["skipped"].items())
        lines.append(
            [
                str(row["number"]),
                f"{row['state']} ({row['cause']})" if row["state"] == "failed" and row["cause"] else row["state"],
                *values,
                left,
                shorten(row["reason"].partition("\n")[0], REASON, placeholder=" ..."),
            ]
        )
    print_table(["trial", "state", *(m.name for m in metrics), "left alone", "reason"], lines)


def retry(
    study: StudyName,
    cause: Annotated[
        list[str] | None, typer.Option(help=f"Failures of this kind alone: {', '.join(FAILURES)}. May be repeated.")
    ] = None,
    trial: Annotated[list[int] | None, typer.Option(help="This trial alone. May be repeated.")] = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Put the failed trials of a study first in line for the next search."""
    for name in cause or ():
        check_name(name, FAILURES, "--cause")
    from paredown.search.study_file.stored import stored_space

    opened = open_study(storage, study).stored
    failed = {row["number"] for row in opened.rows() if row["state"] == "failed"}
    if unknown := sorted(set(trial or ()) - failed):
        allowed = ", ".join(map(str, sorted(failed))) or "none"
        raise ConfigError(f"--trial {unknown[0]}: did not fail; trials of {study!r} that did: {allowed}")
    count = opened.retry(
        stored_space(opened.config).values,
        lambda number, facts: (not cause or facts.get(CAUSE) in cause) and (not trial or number in trial),
    )
    typer.echo(f"{count} failed trials are in line; the next `paredown search` of {study!r} runs them")
