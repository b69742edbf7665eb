"""From the stored configuration of a study back to its objects."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paredown.evaluators.device import Device, this_device
from paredown.evaluators.errors import TaskError
from paredown.evaluators.tasks.spec import TaskSpec, load_task
from paredown.evaluators.tasks.task import Task
from paredown.search.study_file.schema import SpaceSection
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.families.family import Family
from paredown.spaces.families.imported import NAME as IMPORTED
from paredown.spaces.families.imported import imported
from paredown.spaces.space import SearchSpace, joint_space


def stored_task(stored: Mapping[str, Any]) -> Task:
    """Load the task of a stored study.

    Raises:
        TaskError: Its data is gone or has changed.
    """
    spec = TaskSpec(stored["task"]["name"], json.dumps(stored["task"]["options"]), Path(stored["task_folder"]))
    task = load_task(spec)
    if task.digest != stored["task"]["data"]:
        raise TaskError(f"the data of task {spec.name} has changed since the study; restore it or start a new study")
    return task


def stored_device(stored: Mapping[str, Any]) -> Device:
    """Return the device that the files of a stored study are made for; studies made before it was stored take this."""
    return Device.from_json(stored["device"]) if "device" in stored else this_device()


def stored_space(stored: Mapping[str, Any]) -> SearchSpace:
    """Return the joint space of a stored study."""
    section, folder = SpaceSection(**stored["space"]), Path(stored["task_folder"])
    families = families_of(section.families, stored.get("model"), stored.get("weights"), folder)
    return space_of(section, stored_task(stored), families)


def families_of(names: list[str], model: str | None, weights: str | None, folder: Path) -> dict[str, Family]:
    """Return the families of a study, the user's own network among them where there is one."""
    families = {name: FAMILIES[name] for name in names}
    return families | ({IMPORTED: imported(model, folder, weights or "")} if model else {})


def space_of(section: SpaceSection, task: Task, families: Mapping[str, Family]) -> SearchSpace:
    """Return the joint space that a study file asks for.

    Raises:
        SpaceError: A knob does not exist, or a value is outside of its range.
    """
    return joint_space(
        families,
        {name: step for name, step in STEPS.items() if name in section.steps},
        task.resolutions,
        section.knobs,
        section.baseline,
    )
