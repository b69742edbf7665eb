"""Which task, as plain data that crosses processes, and the task itself."""

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paredown.evaluators.errors import TaskError
from paredown.evaluators.tasks.catalogue import TASKS
from paredown.evaluators.tasks.task import Task
from paredown.evaluators.tasks.watching import tell_loaded

KEPT = 8
"""Tasks that a process keeps, each under its options as written and as settled."""


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

    def canonical(self, options: Mapping[str, Any] | None = None) -> "TaskSpec":
        """Return the same with its options, or others, in one order."""
        given = json.loads(self.options) if options is None else options
        return TaskSpec(self.name, json.dumps(given, sort_keys=True), self.folder)


_loaded: "OrderedDict[TaskSpec, Task]" = OrderedDict()


def load_task(spec: TaskSpec) -> Task:
    """Return the task, loaded once a process: also under the options that a study stores of it."""
    key = spec.canonical()
    if key not in _loaded:
        loader = TASKS[spec.name]
        task = loader.load(loader.options.model_validate_json(spec.options), spec.folder)
        tell_loaded(task.summary)
        _loaded[key] = task
        if task.options is not None:
            _loaded[spec.canonical(task.options)] = task
        while len(_loaded) > KEPT:
            _loaded.popitem(last=False)
    return _loaded[key]


def stored_task(stored: Mapping[str, Any]) -> Task:
    """Load the task that the stored configuration of a study names.

    Raises:
        TaskError: Its data is gone or has changed.
    """
    spec = TaskSpec(stored["task"]["name"], json.dumps(stored["task"]["options"]), Path(stored["task_folder"]))
    try:
        task = load_task(spec)
    except TaskError as error:
        raise TaskError(f"task.{spec.name}.{error}; `paredown adopt` tells a study where its data are") from error
    if task.digest != stored["task"]["data"]:
        raise TaskError(
            f"the data of task {spec.name} has changed since the study: its digest was {stored['task']['data']} and is "
            f"{task.digest}; restore it, or start a new study"
        )
    return task
