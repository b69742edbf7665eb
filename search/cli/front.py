"""The command `front`: which models a study found."""

from typing import Annotated

import typer

from paredown.search.cli.options import DEFAULT_STORAGE, AsJson, Storage, StudyName, open_study
from paredown.search.cli.output import print_csv, print_front, print_json


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
