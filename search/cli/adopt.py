"""The command `adopt`: tells a study where its data and its outputs lie now."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paredown.search.cli.options import DEFAULT_STORAGE, AsJson, Storage, StudyName, open_study
from paredown.search.cli.output import print_json, progress_console
from paredown.search.errors import ConfigError

if TYPE_CHECKING:  # --help must not load PyTorch
    from paredown.studies.adopting import Adoption

SHOWN = 20
"""Maximum number of lost trials that are listed; --json has all of them."""


def adopt(
    study: StudyName,
    data: Annotated[Path | None, typer.Option(help="Folder or file of the data; known by their digest.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder of trials, models and report.")] = None,
    modules: Annotated[
        Path | None, typer.Option(help="Folder of the modules that the study file names, such as that of `model`.")
    ] = None,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="With --out: let trials whose files are lost run again.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check and show; store nothing.")] = False,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Tell a study where its data and its outputs lie now, after a check that they are its own."""
    if data is None and out is None and modules is None:
        raise ConfigError("say what has moved: --data PATH, --out DIR or --modules DIR")
    if rerun and out is None:
        raise ConfigError("--rerun: only with --out, the folder in which files are lost")
    opened = open_study(storage, study)
    with progress_console().status("checking"):
        from paredown.studies import adopting

        found = adopting.look(opened.stored, data, modules, out, rerun=rerun)
        if not dry_run:
            adopting.adopt(opened.stored, found, storage)
    if as_json:
        print_json(_document(study, found) | {"dry_run": dry_run})
        return
    for line in _lines(study, found, has_out=out is not None):
        typer.echo(line)
    if dry_run:
        progress_console().print("nothing was stored (--dry-run)")


def _document(study: str, found: "Adoption") -> dict[str, Any]:
    return {
        "study": study,
        "data": {"place": found.data, "digest": found.digest} if found.digest else None,
        "modules": found.config["task_folder"],
        "out": str(found.folder),
        "trials": {
            "finished": found.finished,
            "lost": [{"trial": number, "files": files} for number, files in sorted(found.lost.items())],
            "rerun": list(found.rerun),
        },
        "models": {"whole": list(found.exports), "missing": list(found.unexported)},
    }


def _lines(study: str, found: "Adoption", *, has_out: bool) -> list[str]:
    lines = [f"data    {found.data}: as the study knows them ({found.digest[:16]})"] if found.digest else []
    if not has_out:
        return lines or [f"modules {found.config['task_folder']}"]
    lines.append(f"out     {found.folder}: files of {found.finished - len(found.lost)} of {found.finished} trials")
    lost = sorted(found.lost.items())
    lines += [f"lost    trial {number}: {', '.join(files)}" for number, files in lost[:SHOWN]]
    if len(lost) > SHOWN:
        lines.append(f"lost    {len(lost) - SHOWN} more trials; --json lists them")
    if found.rerun:
        lines.append(
            f"again   {len(found.rerun)} trials are in line; the next `paredown search` of {study!r} runs them"
        )
    elif lost:
        lines.append("again   --rerun lets these trials run again")
    if found.unexported:
        missing = ", ".join(found.unexported)
        lines.append(f"models  not there or changed: {missing}; export them: paredown export {study} --front")
    return lines
