"""Computes the importances of a study's knobs in a process of its own: ten thousand trials of Optuna take 200 MB.

It takes the name of the study and writes one JSON document on standard output: importance by knob, by objective.
"""

import json
import os
import sys

from paredown.search.cli.exit_codes import run_command
from paredown.search.study_file.objectives import stored_objectives
from paredown.studies.database_to_read import open_to_read
from paredown.studies.errors import StudyNotFound
from paredown.studies.reading import StudyReader
from paredown.studies.report import knob_importances


def _main() -> None:
    name = sys.argv[1]
    reader = StudyReader.of(open_to_read(os.environ["PAREDOWN_STORAGE"]), name, stored_objectives)
    if reader is None:
        raise StudyNotFound(f"no study {name!r}")
    json.dump(knob_importances(reader, reader.optimised_metrics, reader.models()), sys.stdout)


if __name__ == "__main__":
    run_command(_main)
