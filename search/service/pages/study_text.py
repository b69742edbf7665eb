"""Study files as text: a stored one as it can be submitted again, and a key that is set without disturbing the rest."""

from collections.abc import Mapping
from typing import Any

import yaml

from paredown.search.errors import ConfigError
from paredown.search.service.dataset_places import PREFIX, dataset_names, datasets_folder, images_folder
from paredown.search.service.service import Service
from paredown.search.study_file.yaml_text import composed, loaded
from paredown.studies.queue.job import Job

WHERE = "the text"
"""How messages name a study file on a page."""


def study_text(service: Service, job: Job) -> str:
    """Return the study file of a job as its owner can submit it: with the names that he gave, not the server's."""
    payload = dict(job.payload)
    if names := payload.get("warm_start"):
        payload["warm_start"] = [str(name).removeprefix(f"{job.owner}.") for name in names]
    task = payload.get("task")
    if isinstance(task, dict) and "path" in (options := task.get("options", {})):
        own = datasets_folder(service.settings.out, job.owner).absolute()
        folders = {str(images_folder(own / name).resolve()): f"{PREFIX}{name}" for name in dataset_names(own)}
        path = folders.get(options["path"], options["path"])
        payload["task"] = {**task, "options": {**options, "path": path}}
    return yaml.safe_dump(payload, sort_keys=False, allow_unicode=True)


def with_key(text: str, key: str, value: list[Any] | dict[str, Any]) -> str:
    """Return a study file whose top-level key has a value; its other lines and their comments stay.

    Args:
        text: The study file.
        key: The key.
        value: What it holds then; an empty list removes the key.

    Raises:
        ConfigError: The text is no YAML mapping.
    """
    root = _root(text)
    if root is not None and root.flow_style:  # JSON, for one: all of it may be one line
        rest = {name: one for name, one in loaded(text, WHERE).items() if name != key}
        return _written(rest if value == [] else {**rest, key: value})
    line = "" if value == [] else _written({key: value})
    pairs = [] if root is None else root.value
    found = next((pair for pair in pairs if getattr(pair[0], "value", None) == key), None)
    if found is None:
        return (text if not text or text.endswith("\n") else f"{text}\n") + line
    start, end = found[0].start_mark.index, _end(found[1])
    last = end - 1 if text[end - 1] == "\n" else text.find("\n", end)
    return text[:start] + line + ("" if last < 0 else text[last + 1 :])


def top_level(text: str) -> Mapping[str, Any]:
    """Return what a study file says.

    Raises:
        ConfigError: The text is no YAML mapping.
    """
    _root(text)
    found: Mapping[str, Any] = loaded(text, WHERE) or {}
    return found


def kind_of(task: object) -> str:
    """Return the name of the task that a study file names; an empty text where it names none."""
    kind = _kind_and_path(task)[0]
    return kind if isinstance(kind, str) else ""


def dataset_named(task: object) -> str | None:
    """Return the name of the uploaded data set that a task is; None where it is none."""
    kind, path = _kind_and_path(task)
    is_one = kind == "image_folder" and isinstance(path, str) and path.startswith(PREFIX)
    return path.removeprefix(PREFIX) if is_one else None


def _kind_and_path(task: object) -> tuple[Any, Any]:
    """Return the name and the path of a task in each of the ways in which a study file may write it."""
    if isinstance(task, str):
        return task.partition(":")[::2]
    if not isinstance(task, dict) or not ("name" in task or len(task) == 1):
        return None, None
    kind, given = (task["name"], task.get("options")) if "name" in task else next(iter(task.items()))
    path = given.get("path") if isinstance(given, dict) else given
    return kind, task.get("shorthand") if path is None else path


def _root(text: str) -> yaml.MappingNode | None:
    """Return the mapping that a text is."""
    node = composed(text, WHERE)
    if node is not None and not isinstance(node, yaml.MappingNode):
        raise ConfigError("the text holds no keys such as study, task and objectives")
    return node


def _written(document: Mapping[str, Any]) -> str:
    """Return plain data as YAML; what holds no collections itself stands in one line."""
    return str(yaml.safe_dump(dict(document), default_flow_style=None, sort_keys=False, width=10**6))


def _end(node: yaml.Node) -> int:
    """Return where a value ends; YAML counts what follows a block as part of it."""
    if isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)
