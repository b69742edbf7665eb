"""Arguments and options that several commands take, and how a study is opened for them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paredown.search.api.storage import DEFAULT_STORAGE as DEFAULT_STORAGE
from paredown.search.cli.output import document_alone
from paredown.studies.exporters.catalogue import EXPORTERS

if TYPE_CHECKING:  # --help must not load a database
    from paredown.search.api.study import Study

StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a study; `paredown studies` lists them.")]
Storage = Annotated[
    str,
    typer.Option(envvar="PAREDOWN_STORAGE", help="Address of the database, e.g. sqlite:///paredown.db", metavar="URL"),
]


def _document_alone(context: typer.Context, wanted: bool) -> bool:
    """Keep standard output for the one document, whatever user code and libraries print."""
    if wanted:
        context.call_on_close(document_alone().close)
    return wanted


AsJson = Annotated[
    bool, typer.Option("--json", callback=_document_alone, help="Print one JSON document on standard output.")
]
FORMATS = f"Format: {'; '.join(f'{name} ({e.description})' for name, e in EXPORTERS.items())}."
Format = Annotated[str, typer.Option("--format", help=FORMATS)]
DeviceFormat = Annotated[str | None, typer.Option("--format", help=f"{FORMATS} (default: the device's, else onnx)")]
ModelsFolder = Annotated[
    Path | None, typer.Option("-o", "--out", help="Folder for the models. (default: paredown-out/STUDY/models)")
]


def open_study(storage: str, name: str) -> "Study":
    """Open a study that exists.

    Raises:
        StudyError: There is no such database or study; the message names those that exist.
    """
    from paredown.search.api.study import open_study as opened

    return opened(name, storage=storage)
