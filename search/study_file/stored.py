"""Task and space of a study, made from its stored configuration."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from paredown.evaluators.device import Device, this_device
from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.tasks.catalogue import TASKS
from paredown.evaluators.tasks.spec import stored_task
from paredown.evaluators.tasks.task import Task
from paredown.search.study_file.limits import default_limits
from paredown.search.study_file.schema import StudyConfig
from paredown.search.study_file.sections import SpaceSection, TrainingSection
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.families.family import Family
from paredown.spaces.families.imported import NAME as IMPORTED
from paredown.spaces.families.imported import imported
from paredown.spaces.space import SearchSpace, joint_space
from paredown.studies.study import Study


def stored_device(stored: Mapping[str, Any]) -> Device:
    """Return the device that the files of a stored study are made for; studies made before it was stored take this."""
    return Device.from_json(stored["device"]) if "device" in stored else this_device()


def stored_space(stored: Mapping[str, Any]) -> SearchSpace:
    """Return the joint space of a stored study."""
    section, folder = SpaceSection(**stored["space"]), Path(stored["task_folder"])
    families = families_of(section.families, stored.get("model"), stored.get("weights"), folder)
    return space_of(section, stored_task(stored), families)


def families_of(names: list[str], model: str | None, weights: str | None, folder: Path) -> dict[str, Family]:
    """Return the families of a study, including the user's own network if it has one."""
    families = {name: FAMILIES[name] for name in names}
    return families | ({IMPORTED: imported(model, folder, weights or "")} if model else {})


def as_begun(config: StudyConfig, begun: Study | None, *, is_default: bool = False) -> StudyConfig:
    """Return a study file that reads its data and trains as the study of its name has begun to.

    Studies of before the option `fit` store none, and are read as they were then. Studies of before the network decided
    the batch store one, and keep it. The default study of an earlier version goes on with the training of then.

    Args:
        config: The study file.
        begun: The study; None for a new one.
        is_default: Whether this is the default study, whose training nobody wrote.
    """
    if begun is None:
        return config
    stored = begun.config.get("training", {})
    if is_default:
        kept = {key: stored[key] for key in TrainingSection.model_fields if key in stored}
        config = config.model_copy(update={"training": config.training.model_copy(update=kept)})
    if config.training.batch_size is None:
        batch = stored.get("batch_size")
        config = config.model_copy(update={"training": config.training.model_copy(update={"batch_size": batch})})
    task, section = begun.config["task"], config.task
    if task["name"] != section.name or "fit" in task["options"] or "fit" in section.options:
        return config
    if "fit" not in TASKS[section.name].options.model_fields:
        return config
    return config.model_copy(
        update={"task": section.model_copy(update={"options": {**section.options, "fit": "earlier"}})}
    )


def with_default_limits(config: StudyConfig, begun: Study | None) -> StudyConfig:
    """Return a study file with the limits of a new study where it names none.

    A study that has begun keeps the limits that it has, so that none is added to studies of before.

    Args:
        config: The study file.
        begun: The study; None for a new one.
    """
    metrics = [EVALUATORS[name].metric for name in config.objectives if name in EVALUATORS]
    defaults = default_limits(metrics)
    if begun is not None:
        stored = begun.config["limits"]
        defaults = {name: limit for name, limit in defaults.items() if stored.get(name) == limit}
    return config.model_copy(update={"limits": {**defaults, **config.limits}})


def space_of(section: SpaceSection, task: Task, families: Mapping[str, Family]) -> SearchSpace:
    """Return the joint space that a study file asks for.

    Raises:
        SpaceError: A knob does not exist, or a value is outside its range.
    """
    space = joint_space(
        families,
        {name: step for name, step in STEPS.items() if name in section.steps},
        task.resolutions,
        section.knobs,
        section.baseline,
    )
    return replace(space, skip=tuple(section.skip), keep=tuple(section.keep))
