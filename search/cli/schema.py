"""The command `paredown schema`; as in `paredown.search.cli.app`, nothing heavy is imported at once."""

import json
from pathlib import Path
from typing import Annotated

import typer

from paredown.search.cli.output import print_json, relative


def schema(
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the schema into this file.")] = None,
) -> None:
    """Print a JSON schema of study files, with which editors complete and check them."""
    from paredown.search.study_file.json_schema import study_schema

    if out is None:
        print_json(study_schema())
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(study_schema(), indent=2) + "\n")
    typer.echo(f"schema  {relative(out)}")
