"""The commands `studies ...`: what a database holds, and what is done to whole studies."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paredown.search.cli.exit_codes import fail
from paredown.search.cli.options import DEFAULT_STORAGE, AsJson, Storage, StudyName, open_study
from paredown.search.cli.output import print_json, print_table, progress_console, relative
from paredown.search.cli.stop_signals import STOPPED
from paredown.search.errors import ConfigError

if TYPE_CHECKING:  # --help must not load a database
    from paredown.studies.housekeeping.deleting import Deletion

SHOWN = 60
"""Number of characters of a value of the configuration that are shown; --json has all of it."""

studies = typer.Typer(
    help="List the studies of a database; delete, rename, copy, compare and export them.", invoke_without_command=True
)


@studies.callback()
def listed(context: typer.Context, storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False) -> None:
    """List the studies of a database; delete, rename, copy, compare and export them."""
    if context.invoked_subcommand is not None:
        given = context.get_parameter_source("storage")
        if as_json or (given is not None and given.name == "COMMANDLINE"):
            option = "--json" if as_json else "--storage"
            raise ConfigError(f"{option} stands behind the command: paredown studies {context.invoked_subcommand} ...")
        return
    from paredown.studies.records import list_studies

    rows = list_studies(storage)
    if as_json:
        print_json({"studies": rows})
        return
    print_table(
        ["study", "created", "trials", "folder"],
        [[r["study"], r["created_at"], _counts(r["trials"]), r["folder"]] for r in rows],
    )


@studies.command()
def delete(
    study: StudyName,
    artifacts: Annotated[
        bool, typer.Option("--artifacts", help="Delete its files, too: trials, cache, models, report, log.")
    ] = False,
    keep_models: Annotated[
        bool, typer.Option("--keep-models", help="With --artifacts: keep exported models and the report.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Delete a study from the database; its files stay unless --artifacts is given."""
    from paredown.studies.housekeeping.deleting import delete_study

    if keep_models and not artifacts:
        raise ConfigError("--keep-models: only with --artifacts; without it, all files stay")

    def confirmed(deletion: "Deletion") -> bool:
        if not yes and not sys.stdin.isatty():
            raise ConfigError(f"to delete {_said(deletion)} needs --yes where nobody can be asked")
        return yes or typer.confirm(f"Delete {_said(deletion)}?", err=True)

    deleted = delete_study(storage, study, artifacts=artifacts, keep_models=keep_models, confirmed=confirmed)
    if deleted is None:
        fail(f"study {study!r} was not deleted", STOPPED)
    stay = "" if artifacts or not deleted.folder.is_dir() else f"; its files stay in {relative(deleted.folder)}"
    typer.echo(f"deleted {_said(deleted)}{stay}")


@studies.command()
def rename(old: StudyName, new: str, storage: Storage = DEFAULT_STORAGE) -> None:
    """Rename a study; its folder keeps its name."""
    from paredown.studies.housekeeping.renaming import rename_study

    folder = rename_study(storage, old, new)
    go_on = f"--study {new} --out {relative(Path(folder))}"
    typer.echo(f"study {old!r} is now {new!r}; `paredown search` goes on with {go_on}")


@studies.command()
def copy(
    study: StudyName,
    new: str,
    to: Annotated[
        str | None, typer.Option("--to", help="Address of another database, which is made if need be.", metavar="URL")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder of the copy. (default: NEW beside the study's)")
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Copy a study with the files of its trials, to go on in two ways or in another database."""
    from paredown.studies.housekeeping.copying import copy_study

    with progress_console().status("copying"):
        copied = copy_study(storage, study, new, to or storage, out)
    files = f"files in {relative(copied.folder)}" if copied.has_files else "no files: those of the study are gone"
    typer.echo(f"study {new!r} is a copy of {study!r}: {copied.trials} trials, {files}")


@studies.command()
def compare(
    names: Annotated[list[str], typer.Argument(metavar="STUDY STUDY...", help="Names of two or more studies.")],
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Compare studies: trials, fronts, hypervolume in one reference, best values, and what was configured otherwise."""
    from paredown.studies.housekeeping.comparing import compare as compared

    if len(names) < 2 or len(set(names)) < len(names):
        raise ConfigError(f"compare: two or more different studies are needed, not {' '.join(names)}")
    found = compared([open_study(storage, name).stored for name in names])
    if as_json:
        print_json(found)
        return
    _print_comparison(names, found)


@studies.command()
def export(
    study: StudyName,
    file: Annotated[str, typer.Option("--csv", help="File to write; - for standard output.", metavar="FILE")],
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Write all trials of a study as comma-separated values: knobs, metrics, changes, flags, times."""
    from paredown.studies.csv_export import write_csv

    stored = open_study(storage, study).stored
    if file == "-":
        write_csv(stored, sys.stdout)
        return
    with Path(file).open("w", newline="", encoding="utf-8") as stream:
        count = write_csv(stored, stream)
    typer.echo(f"csv     {relative(Path(file))} ({count} trials)")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {state}" for state, number in counts.items())


def _said(deletion: "Deletion") -> str:
    trials = _counts(deletion.counts) or "no trials"
    files = f" and {', '.join(path.name for path in deletion.files)} in {deletion.folder}" if deletion.files else ""
    return f"study {deletion.study!r} ({trials}){files}"


def _print_comparison(names: list[str], found: dict[str, Any]) -> None:
    from paredown.evaluators.metrics.catalogue import known_metrics

    known, compared = known_metrics(), found["studies"]
    rows = [
        ["trials", *(_counts(one["counts"]) or "none" for one in compared)],
        ["front", *(str(one["front"]) for one in compared)],
        ["hypervolume", *("" if (h := one["hypervolume"]) is None else f"{h:.4f}" for one in compared)],
    ]
    for name in dict.fromkeys(name for one in compared for name in one["objectives"]):
        cells = [known[name].format(one["best"][name]) if name in one["best"] else "" for one in compared]
        rows.append([f"best {name}", *cells])
    print_table(["", *names], rows)
    if (reference := found["reference"]) is not None:
        axes = ", ".join(found["objectives"])
        typer.echo(f"hypervolume over {axes}; reference: the baseline of {reference['study']!r}")
    if not found["differences"]:
        typer.echo("their configurations do not differ")
        return
    typer.echo("")
    lines = [[key, *(_short(value) for value in values)] for key, values in found["differences"].items()]
    print_table(["configuration", *names], lines)


def _short(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 4]} ..."
