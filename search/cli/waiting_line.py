"""The commands `enqueue` and `retry`: candidates that a search runs before all that its sampler proposes."""

from typing import Annotated, get_args

import typer

from paredown.search.cli.options import DEFAULT_STORAGE, AsJson, Storage, StudyName, open_study
from paredown.search.cli.output import print_json, progress_console
from paredown.search.errors import ConfigError, check_name
from paredown.studies.result import CAUSE, Cause

FAILURES = {cause: cause for cause in get_args(Cause) if cause != "infeasible"}
"""Causes of failures, as a catalogue."""
NEXT = "a search that runs goes on with what is in line, otherwise the next `paredown search` does"


def enqueue(
    study: StudyName,
    knobs: Annotated[
        list[str] | None,
        typer.Argument(metavar="KNOB=VALUE...", help="Knobs under their dotted names, e.g. mbconv.width=0.5."),
    ] = None,
    like: Annotated[
        int | None, typer.Option(help="Number of the trial whose knobs hold where none is named. (default: baseline)")
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Put a candidate first in line: the baseline, or another trial's, with some knobs changed."""
    if not knobs and like is None:
        raise ConfigError("say which candidate: KNOB=VALUE, or --like N")
    with progress_console().status("loading"):
        from paredown.search.study_file.candidate_arguments import read_candidate
        from paredown.search.study_file.stored import stored_space
        from paredown.studies.results import QUEUED

        opened = open_study(storage, study).stored
        space = stored_space(opened.config)
    start = opened.baseline_candidate if like is None else opened.candidate(like, "--like")
    candidate = read_candidate(space, start, knobs or ())
    place = opened.put_in_line(candidate, space.values(candidate))
    if as_json:
        print_json({"study": study, "trial": place.number, "state": place.state, "candidate": candidate.to_json()})
        return
    if place.state == QUEUED:
        typer.echo(f"trial {place.number} is in line: {candidate}; {NEXT}")
        return
    again = f"; `paredown retry {study} --trial {place.number}` runs it again" if place.state == "failed" else ""
    typer.echo(f"nothing to do: this is trial {place.number} of {study!r}, which is {place.state}{again}")


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
    queued = opened.retry(
        stored_space(opened.config).values,
        lambda number, facts: (not cause or facts.get(CAUSE) in cause) and (not trial or number in trial),
    )
    if not queued:
        what = f"trial has failed with the cause {' or '.join(cause)}" if cause else "trial has failed"
        typer.echo(f"nothing to do: no {what} in study {study!r}")
        return
    typer.echo(f"{len(queued)} failed {'trial is' if len(queued) == 1 else 'trials are'} in line; {NEXT}")
    for old, new in queued.items():
        typer.echo(f"trial {old} runs again as trial {new}")
