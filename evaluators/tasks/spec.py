"""Which task, as plain data that crosses processes, and the task itself."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paredown.evaluators.errors import TaskError
from paredown.evaluators.tasks.catalogue import TASKS
from paredown.evaluators.tasks.task import Task


@dataclass(frozen=True)
class TaskSpec:
    """Enough to load a task in another process.

    Attributes:
        name: In the catalogue.
        options: As JSON of its options.
        folder: Where relative paths start.
    """

    name: str
    options: str
    folder: Path


@functools.lru_cache(maxsize=4)
def load_task(spec: TaskSpec) -> Task:
    """Return the task, loaded once a process."""
    loader = TASKS[spec.name]
    return loader.load(loader.options.model_validate_json(spec.options), spec.folder)


def stored_task(stored: Mapping[str, Any]) -> Task:
    """Load the task that the stored configuration of a study names.

    Raises:
        TaskError: Its data is gone or has changed.
    """
    spec = TaskSpec(stored["task"]["name"], json.dumps(stored["task"]["options"]), Path(stored["task_folder"]))
    task = load_task(spec)
    if task.digest != stored["task"]["data"]:
        raise TaskError(f"the data of task {spec.name} has changed since the study; restore it or start a new study")
    return task
