"""Checks a submitted study in a process of its own, as `paredown search` checks a study file.

It reads one JSON document on standard input and writes one on standard output: the study as the queue stores it. The
server never loads PyTorch, and what is submitted cannot disturb it: this process ends with its check.
"""

import json
import sys
from pathlib import Path
from typing import Any

from paredown.evaluators.standard_output import output_to_stderr
from paredown.search.cli.exit_codes import run_command
from paredown.search.errors import ConfigError
from paredown.search.service.dataset_places import datasets_folder
from paredown.search.service.policy import checked_payload
from paredown.search.study_file.feasibility import probe
from paredown.search.study_file.schema import checked_config
from paredown.search.study_file.setup import set_up
from paredown.search.study_file.yaml_text import loaded


def checked_submission(request: dict[str, Any]) -> dict[str, Any]:
    """Return name, payload and folder of a submitted study, and the resources that it needs of a worker.

    Args:
        request: `text` (YAML or JSON), `where` (how messages name it), `given` (top-level keys in place of the text's),
            `owner`, `allow`, `data` and `out`, as in `Settings`.

    Raises:
        ParedownError: It says what cannot be, or what the server does not allow.
    """
    where = str(request["where"])
    data = loaded(request["text"], where)
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: must hold keys such as study, task and objectives")
    config = checked_config(data, where, request["given"])
    folder = None if request["data"] is None else Path(request["data"])
    payload = checked_payload(
        config, where, request["allow"], folder, datasets_folder(Path(request["out"]), request["owner"])
    )
    if config.warm_start:  # an owner's studies carry his name in the database: those of others cannot be named
        payload["warm_start"] = [f"{request['owner']}.{name}" for name in config.warm_start]
    out = Path(request["out"], request["owner"], config.study)
    # What the worker will read, with the name under which the study is stored.
    stored = checked_config(payload, where, {"study": f"{request['owner']}.{config.study}"})
    probe(set_up(stored, where, out, out), where)
    needs = [] if config.resources is None else list(config.resources.custom)
    needs += [] if config.measure_on is None else [config.measure_on.resource]
    return {"study": config.study, "payload": payload, "folder": str(out.absolute()), "needs": needs}


def _main() -> None:
    request = json.load(sys.stdin)
    with output_to_stderr():  # whatever libraries print
        checked = checked_submission(request)
    json.dump(checked, sys.stdout)


if __name__ == "__main__":
    run_command(_main)
