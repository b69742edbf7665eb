"""Finds what the models of a study cost on a device in a process of its own: that runs and converts their files.

It takes the names of the study and of the device, and writes one JSON document on standard output: the costs of each
model that the device can run, by trial, the reason for each other one, and the limits of the device.
"""

import json
import os
import sys
from typing import Any

from paredown.evaluators.devices.catalogue import device_profile
from paredown.evaluators.standard_output import output_to_stderr
from paredown.search.cli.exit_codes import run_command
from paredown.search.study_file.objectives import stored_objectives
from paredown.studies.device_models import candidates, on_device
from paredown.studies.study import Study


def device_models(study: Study, device: str) -> dict[str, Any]:
    """Return costs, refusals and limits.

    Args:
        study: The study.
        device: Name of a device of the catalogue.
    """
    profile, models = device_profile(device), candidates(study)
    before = {model.trial: model.measurements for model in models}
    seen = on_device(study, profile, models)
    costs = {
        model.trial: {name: m.value for name, m in model.measurements.items() if before[model.trial].get(name) is not m}
        for model in seen.models
    }
    return {"costs": costs, "refused": seen.refused, "limits": profile.limits}


def _main() -> None:
    with output_to_stderr():  # whatever libraries print
        found = device_models(Study.open(os.environ["PAREDOWN_STORAGE"], sys.argv[1], stored_objectives), sys.argv[2])
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    run_command(_main)
