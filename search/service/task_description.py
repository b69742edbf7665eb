"""Describes the data of the task that a study names, in a process of its own, before the study is submitted.

It reads one JSON document on standard input and writes one on standard output. What a study may not name is refused
here as it is at its submission.
"""

import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from paredown.evaluators.errors import TaskError
from paredown.evaluators.standard_output import output_to_stderr
from paredown.evaluators.tasks.spec import load_task
from paredown.search.cli.exit_codes import run_command
from paredown.search.errors import ConfigError
from paredown.search.service.dataset_description import pictures
from paredown.search.service.dataset_places import datasets_folder
from paredown.search.service.policy import checked_payload
from paredown.search.study_file.schema import checked_config
from paredown.search.study_file.setup import task_spec

SHOWN_CLASSES = 12
"""Maximum number of classes of which images are shown."""
SIDE = 96
"""Longest side of an image that is shown, in pixels."""


def task_description(request: dict[str, Any]) -> dict[str, Any]:
    """Return what the data of a task is, as `paredown data check --json` says it, with images of the first classes.

    Args:
        request: `task` (as in a study file), `where` (how messages name it), and `owner`, `allow`, `data` and `out` as
            for a submission.

    Raises:
        ConfigError: There is no such task, it may not be named here, or its data cannot be used.
    """
    where = str(request["where"])
    study = {"study": "look", "task": request["task"], "objectives": ["accuracy", "macs"]}
    folder = None if request["data"] is None else Path(request["data"])
    own = datasets_folder(Path(request["out"]), request["owner"])
    payload = checked_payload(checked_config(study, where, {}), where, request["allow"], folder, own)
    spec = task_spec(checked_config(payload, where, {}).task, where, Path())
    try:
        task = load_task(spec)
    except TaskError as error:
        raise ConfigError(f"{where}: task.{spec.name}.{error}") from error
    if task.summary is None:
        raise ConfigError(f"{where}: task: {spec.name!r} has nothing to say of its data")
    shown = {name: [_small(one) for one in pictures(task, at)] for at, name in enumerate(task.classes[:SHOWN_CLASSES])}
    return {**task.summary().to_json(), "classes": list(task.classes), "pictures": shown}


def _small(png: bytes) -> str:
    """Return a picture as a data URL."""
    image = Image.open(io.BytesIO(png))
    image.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _main() -> None:
    request = json.load(sys.stdin)
    with output_to_stderr():  # whatever libraries print
        found = task_description(request)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    run_command(_main)
