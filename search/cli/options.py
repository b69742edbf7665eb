"""Arguments and options that several commands take, and how a study is opened for them."""

from typing import TYPE_CHECKING, Annotated

import typer

from paredown.studies.exporters.catalogue import EXPORTERS

if TYPE_CHECKING:  # for annotations alone: it loads torch, and --help must not
    from paredown.studies.study import Study

StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a study; `paredown studies` lists them.")]
Storage = Annotated[
    str, typer.Option(envvar="PAREDOWN_STORAGE", help="Database, e.g. sqlite:///paredown.db", metavar="URL")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Format = Annotated[
    str,
    typer.Option(
        "--format", help=f"Format: {'; '.join(f'{name} ({e.description})' for name, e in EXPORTERS.items())}."
    ),
]
DEFAULT_STORAGE = "sqlite:///paredown.db"


def open_study(storage: str, name: str) -> "Study":
    """Open a study that exists.

    Raises:
        StudyError: There is no such database or study; the message names those that exist.
    """
    from paredown.search.study_file.objectives import stored_objectives
    from paredown.studies.study import Study

    return Study.open(storage, name, stored_objectives)
