"""From a checked study file to the objects of a search."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from paredown.evaluators.catalogue import EVALUATORS
from paredown.evaluators.errors import TaskError
from paredown.evaluators.measurement import Objective, broken_limits
from paredown.evaluators.tasks.catalogue import TASKS
from paredown.evaluators.tasks.task import Task
from paredown.evaluators.training import TrainingPlan
from paredown.search.config import SpaceSection, StudyConfig, TaskSection
from paredown.search.errors import ConfigError
from paredown.search.plan import TaskSpec, TrialPlan, load_task
from paredown.search.samplers.choosing import choose_sampler
from paredown.search.samplers.knobs import distributions
from paredown.search.samplers.sampler import Problem
from paredown.search.schedulers.halving import Halving
from paredown.search.trial import measure_untrained
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.errors import SpaceError
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.knob import Range
from paredown.spaces.space import SearchSpace, joint_space


@dataclass(frozen=True)
class Setup:
    """All that a search needs but the study.

    Attributes:
        config: The study file.
        task: The data.
        space: The joint space.
        plan: How a trial runs.
        stored: What later runs of the study must agree with.
    """

    config: StudyConfig
    task: Task
    space: SearchSpace
    plan: TrialPlan
    stored: dict[str, Any]


def set_up(config: StudyConfig, where: str, folder: Path, out: Path) -> Setup:
    """Load the task, build the space and the plan.

    Args:
        config: A checked study file.
        where: How messages name it.
        folder: Where its relative paths start.
        out: The study's folder.

    Raises:
        ConfigError: Something in it does not exist or cannot be; the message names file and key.
    """
    objectives = _objectives(config.objectives, config.limits, where)
    for name in config.space.families:
        _allowed(name, FAMILIES, f"{where}: space.families")
    for name in config.space.steps:
        _allowed(name, STEPS, f"{where}: space.steps")
    spec = _task_spec(config.task, where, folder)
    try:
        task = load_task(spec)
    except TaskError as error:
        raise ConfigError(f"{where}: task.{spec.name}.{error}") from error
    try:
        space = _space(config.space, task)
    except SpaceError as error:
        raise ConfigError(f"{where}: space.knobs: {error}") from error
    # Chosen here for its errors alone: nothing is written before all is known to be right.
    problem = Problem(config.seed, config.trials, distributions(space))
    choose_sampler(config.sampler, problem, [o.metric for o in objectives if o.optimised], where, folder.absolute())
    training = TrainingPlan(**config.training.model_dump(), seed=config.seed)
    if training.accelerator == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ConfigError(f"{where}: training.accelerator: no CUDA device here; use auto or cpu")
    _check_halving(config, where)
    judged = config.halving is not None
    folder_out, thresholds = out.absolute(), _thresholds(space)
    plan = TrialPlan(spec, objectives, training, folder_out, None, config.trial_timeout, 0, judged, thresholds)
    stored = {
        "task": {"name": spec.name, "options": json.loads(spec.options), "data": task.digest},
        "task_folder": str(folder.absolute()),
        "objectives": config.objectives,
        "limits": config.limits,
        "space": config.space.model_dump(),
        "baseline": space.baseline.to_json(),
        "training": config.training.model_dump(exclude={"accelerator"}),
        "seed": config.seed,
    }
    return Setup(config, task, space, plan, stored)


def stored_objectives(stored: Mapping[str, Any]) -> tuple[Objective, ...]:
    """Return the objectives of a stored study."""
    return _objectives(stored["objectives"], stored["limits"], "stored study")


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


def stored_space(stored: Mapping[str, Any]) -> SearchSpace:
    """Return the joint space of a stored study."""
    return _space(SpaceSection(**stored["space"]), stored_task(stored))


def _space(section: SpaceSection, task: Task) -> SearchSpace:
    return joint_space(
        {name: FAMILIES[name] for name in section.families},
        {name: step for name, step in STEPS.items() if name in section.steps},
        task.resolutions,
        section.knobs,
        section.baseline,
    )


def _thresholds(space: SearchSpace) -> tuple[float, ...]:
    """Return the thresholds of early exits that the study leaves to choose from."""
    knob = space.knobs.get("early_exit.threshold")
    return () if not isinstance(knob, Range) or knob.is_fixed else knob.values


def _objectives(names: list[str], limits: Mapping[str, float], where: str) -> tuple[Objective, ...]:
    for name in names:
        _allowed(name, EVALUATORS, f"{where}: objectives")
    if len(set(names)) < len(names):
        raise ConfigError(f"{where}: objectives: a metric is named twice in {names}")
    for name, limit in limits.items():
        _allowed(name, EVALUATORS, f"{where}: limits")
        metric = EVALUATORS[name].metric
        if not 0 < limit <= metric.highest:
            raise ConfigError(
                f"{where}: limits.{name}: no candidate can meet {limit:g}; allowed: above 0, at most {metric.highest:g}"
            )
    optimised = [Objective(EVALUATORS[n].metric, True, limits.get(n)) for n in names]
    others = [Objective(EVALUATORS[n].metric, False, limit) for n, limit in limits.items() if n not in names]
    return tuple(optimised + others)


def _task_spec(section: TaskSection, where: str, folder: Path) -> TaskSpec:
    _allowed(section.name, TASKS, f"{where}: task")
    loader = TASKS[section.name]
    options = dict(section.options)
    if section.shorthand is not None:
        if not loader.shorthand:
            raise ConfigError(f"{where}: task.{section.name}: takes a mapping, not {section.shorthand!r}")
        options[loader.shorthand] = section.shorthand
    try:
        checked = loader.options.model_validate(options)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(["task", section.name, *(str(part) for part in problem["loc"])])
        allowed = ", ".join(loader.options.model_fields) or "none"
        raise ConfigError(f"{where}: {key}: {problem['msg']}; options: {allowed}") from None
    return TaskSpec(section.name, checked.model_dump_json(), folder.absolute())


def _check_halving(config: StudyConfig, where: str) -> None:
    """Refuse rungs that no trial would reach."""
    halving, epochs = config.halving, config.training.epochs
    if halving is None:
        return
    if halving.first >= epochs:
        allowed = f"1 to {epochs - 1}" if epochs > 1 else "none, since training.epochs is 1"
        raise ConfigError(
            f"{where}: halving.first: {halving.first} is not below training.epochs ({epochs}), so no trial would be "
            f"judged; allowed: {allowed}"
        )
    rungs = Halving([], halving.first, halving.factor).rungs(0, epochs)
    if halving.brackets > len(rungs) + 1:
        raise ConfigError(
            f"{where}: halving.brackets: {halving.brackets} is more than the rungs below {epochs} epochs allow "
            f"({', '.join(map(str, rungs))}); allowed: 1 to {len(rungs) + 1}, the last bracket without a rung"
        )


def _allowed(name: str, catalogue: Mapping[str, object], where: str) -> None:
    if name not in catalogue:
        raise ConfigError(f"{where}: {name!r} does not exist; allowed: {', '.join(catalogue)}")


def probe_limits(setup: Setup, where: str, draws: int = 16) -> None:
    """Refuse limits that nothing in a sample of the space keeps, before anything is trained.

    Looked at: the smallest candidates, the baseline and random ones, untrained.

    Raises:
        ConfigError: None keeps the limits on what is known before training; the message names the nearest value.
    """
    limits = [o for o in setup.plan.objectives if o.limit is not None and o.metric.untrained_tolerance is not None]
    if not limits:
        return
    candidates = [*setup.space.smallest(), setup.space.baseline, *(setup.space.draw(n) for n in range(draws))]
    least = dict.fromkeys((o.metric.name for o in limits), math.inf)
    for candidate in candidates:
        values = measure_untrained(candidate, setup.plan)
        if not broken_limits(tuple(limits), values, untrained=True):
            return
        least = {name: min(value, values.get(name, math.inf)) for name, value in least.items()}
    o = max(limits, key=lambda o: o.violation(least[o.metric.name]))
    raise ConfigError(
        f"{where}: limits.{o.metric.name}: no candidate can meet {o.limit:g}: of {len(candidates)} tried, "
        f"the least has {least[o.metric.name]:g} {o.metric.unit}; raise the limit or widen space.knobs"
    )
