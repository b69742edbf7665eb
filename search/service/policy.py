"""What a study that comes over the network may not say, although a study file on this machine may.

Whoever submits a study must not be able to run code of his own, to read files outside the data folder, or to ask for
more than a server should promise.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from paredown.search.errors import ConfigError
from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.service.dataset_places import PREFIX, named_images
from paredown.search.service.settings import MAX_TRIALS
from paredown.search.study_file.schema import StudyConfig
from paredown.search.study_file.sections import BASELINE

PATHS = {"image_folder": "path", "arrays": "path"}
"""Tasks with the option that names a file or a folder."""
FIXED_KNOBS = ("imported.function", "imported.folder", "imported.weights")
"""Knobs that carry what `model` and `weights` say."""


def checked_payload(
    config: StudyConfig, where: str, allow: Sequence[str], data: Path | None, datasets: Path
) -> dict[str, Any]:
    """Return a study file as it is stored in the queue: with absolute paths, each in the data folder or a data set.

    Args:
        config: The checked study file.
        where: How messages name it.
        allow: Modules from which it may import.
        data: Folder in which its paths start and must stay; None where it may name none.
        datasets: Folder of the data sets of its owner, which it names as `image_folder: dataset:NAME`.

    Raises:
        ConfigError: It names code, a file, a command or a number of trials that the server does not allow.
    """
    for key, command in (("on_finish", config.on_finish), ("on_failure", config.on_failure)):
        if command is not None:
            raise ConfigError(f"{where}: {key}: a server runs no shell commands of a study; remove the key")
    if config.trials > MAX_TRIALS:
        raise ConfigError(f"{where}: trials: {config.trials} is not allowed; allowed: 1 to {MAX_TRIALS}")
    for knob in FIXED_KNOBS:
        if knob in config.space.knobs or knob in config.space.baseline:
            raise ConfigError(f"{where}: space: {knob} cannot be set; name the network by model and weights")
    for key, path in _imports(config):
        _check_import(path, f"{where}: {key}", allow)
    return _with_absolute_paths(config, where, data, datasets)


def _imports(config: StudyConfig) -> Iterator[tuple[str, str]]:
    """Yield each import path that a study names, with its key."""
    if config.task.name == "python":
        yield "task.python", str(config.task.shorthand or config.task.options.get("function", ""))
    if config.model is not None:
        yield "model", config.model
    if config.distillation.teacher != BASELINE:
        yield "distillation.teacher", config.distillation.teacher
    if config.sampler not in SAMPLERS and ":" in config.sampler:
        yield "sampler", config.sampler


def _check_import(path: str, where: str, allow: Sequence[str]) -> None:
    module = path.partition(":")[0]
    if not any(module == one or module.startswith(f"{one}.") for one in allow):
        allowed = ", ".join(allow) or "none; whoever runs the server registers modules by --allow package.module"
        raise ConfigError(f"{where}: {path!r} is not allowed on this server; modules allowed: {allowed}")


def _with_absolute_paths(config: StudyConfig, where: str, data: Path | None, datasets: Path) -> dict[str, Any]:
    payload = config.model_dump(mode="json", exclude_unset=True)
    if (option := PATHS.get(config.task.name)) is not None:
        task = config.task
        given = str(task.shorthand if task.shorthand is not None else task.options.get(option, ""))
        key = f"{where}: task.{task.name}.{option}"
        if task.name == "image_folder" and given.startswith(PREFIX):
            inside = str(named_images(given, datasets, key))
        else:
            inside = _inside(given, key, data)
        payload["task"] = {"name": task.name, "options": {**task.options, option: inside}}
    if config.device is not None and config.device.endswith(".toml"):
        payload["device"] = _inside(config.device, f"{where}: device", data)
    if config.weights is not None:
        payload["weights"] = _inside(config.weights, f"{where}: weights", data)
    if config.distillation.weights is not None:
        inside = _inside(config.distillation.weights, f"{where}: distillation.weights", data)
        payload["distillation"]["weights"] = inside
    return payload


def _inside(path: str, where: str, data: Path | None) -> str:
    """Return an absolute path without links that lies in the data folder."""
    if data is None:
        raise ConfigError(
            f"{where}: this server has no data folder; it is started with --data FOLDER, or upload a data set"
        )
    root = data.resolve()
    try:
        resolved = (root / path).resolve()
    except (ValueError, OSError):  # a NUL byte, a name that is too long
        resolved = root.parent
    if not resolved.is_relative_to(root):
        raise ConfigError(f"{where}: {path!r} is not in the server's data folder; paths start there")
    return str(resolved)
