"""Which task, as plain data that crosses processes, and the task itself."""

import functools
from dataclasses import dataclass
from pathlib import Path

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
