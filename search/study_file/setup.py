"""The objects of a search, made from a checked study file."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from paredown.evaluators.build import input_shape
from paredown.evaluators.device import this_device
from paredown.evaluators.errors import ExtraMissing, TaskError
from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.measurement import optimised_metrics
from paredown.evaluators.rehearsal import Unfit, rehearse
from paredown.evaluators.tasks.catalogue import TASKS
from paredown.evaluators.tasks.spec import TaskSpec, load_task
from paredown.evaluators.tasks.task import Task
from paredown.evaluators.training.teacher import (
    TeacherRefused,
    TeacherSpec,
    build_teacher,
    check_teacher,
    network_digest,
)
from paredown.search.errors import ConfigError, check_name
from paredown.search.samplers.choosing import choose_sampler
from paredown.search.samplers.knobs import distributions
from paredown.search.samplers.sampler import Problem
from paredown.search.study_file.consistency import check_consistency
from paredown.search.study_file.layer_patterns import check_patterns
from paredown.search.study_file.limits import NONE
from paredown.search.study_file.objectives import read_objectives
from paredown.search.study_file.schema import StudyConfig
from paredown.search.study_file.sections import BASELINE, TaskSection, TrainingSection
from paredown.search.study_file.stored import families_of, space_of
from paredown.search.study_file.target_device import target_of, with_target
from paredown.search.trial.exit_settings import EXIT_STEP, SWEPT_KNOBS
from paredown.search.trial.plan import TrialPlan
from paredown.spaces.checkpoint import read_checkpoint
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.errors import BaselineRefused, InfeasibleCandidate, SpaceError
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.families.family import Family
from paredown.spaces.families.imported import NAME as IMPORTED
from paredown.spaces.families.imported import ModelRefused, try_out
from paredown.spaces.knob import Levels, Range
from paredown.spaces.space import SearchSpace
from paredown.spaces.user_network import weights_file


@dataclass(frozen=True)
class Setup:
    """Everything that a search needs except the study itself.

    Attributes:
        config: The study file.
        task: The data that is learned.
        space: The joint space.
        plan: How a trial runs.
        stored: Configuration that is stored with the study; later runs must ask for the same.
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
        folder: Folder in which relative paths of the file start.
        out: Folder of the study.

    Raises:
        ConfigError: The file names something that does not exist, or asks for something impossible; the message names
            the file and the key.
    """
    target = target_of(config, where, folder)
    config = with_target(config, target, where)
    objectives = read_objectives(config.objectives, config.limits, where)
    for objective in objectives:
        try:
            EVALUATORS[objective.metric.name].require()
        except ExtraMissing as error:
            raise ConfigError(f"{where}: {objective.metric.name}: {error}") from None
    for name in config.space.families:
        check_name(name, FAMILIES, f"{where}: space.families")
    for name in config.space.steps:
        check_name(name, STEPS, f"{where}: space.steps")
    check_consistency(config, where)
    spec = task_spec(config.task, where, folder)
    try:
        task = load_task(spec)
    except TaskError as error:
        raise ConfigError(f"{where}: task.{spec.name}.{error}") from error
    space = _checked_space(config, where, folder, task)
    # Made here only for its errors: nothing is written before everything is known to be right.
    problem = Problem(config.seed, config.trials, distributions(space))
    choose_sampler(config.sampler, problem, optimised_metrics(objectives), where, folder.absolute())
    training = config.training.plan(config.seed)
    if training.accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"{where}: training.accelerator: no CUDA device here; use auto or cpu")
    judged = config.halving is not None
    plan = TrialPlan(
        spec,
        objectives,
        training,
        out.absolute(),
        reference_network=space.baseline,
        timeout_s=config.trial_timeout,
        judged=judged,
        teacher=_teacher(config, where, folder.absolute(), task, space),
        keeps_features=_asks_for_features(space),
        space=config.space.model_dump_json(),
        swept=tuple(_swept(space)),
        device=this_device(target.threads, target.batch_size) if target else this_device(),
        target=target,
        measured_on=config.measure_on.resource if config.measure_on else "",
    )
    return Setup(config, task, space, plan, _stored(config, plan, task, space))


def _checked_space(config: StudyConfig, where: str, folder: Path, task: Task) -> SearchSpace:
    try:
        families = families_of(config.space.families, config.model, config.weights, folder)
        space = space_of(config.space, task, families)
        if IMPORTED in families:
            _try_out(families[IMPORTED], space, task, where)
        if space.baseline.family != IMPORTED:
            _build_baseline(space, task)
    except InfeasibleCandidate as error:
        raise ConfigError(f"{where}: space: the baseline cannot be built: {error}") from error
    except ModelRefused as error:
        raise ConfigError(f"{where}: {error}") from error
    except BaselineRefused as error:
        raise ConfigError(f"{where}: space.baseline: {error}") from error
    except SpaceError as error:
        raise ConfigError(f"{where}: space.knobs: {error}") from error
    check_patterns(space, task, where)
    return space


def _stored(config: StudyConfig, plan: TrialPlan, task: Task, space: SearchSpace) -> dict[str, Any]:
    """Return the configuration that later runs of the study must repeat."""
    stored = {
        "task": {"name": plan.task.name, "options": _options(plan, task), "data": task.digest},
        "task_folder": str(plan.task.folder),
        "objectives": config.objectives,
        "limits": {name: limit for name, limit in config.limits.items() if limit != NONE},
        "space": config.space.model_dump(),
        "baseline": space.baseline.to_json(),
        "training": _stored_training(config.training),
        "seed": config.seed,
        **({"target": plan.target.model_dump(mode="json")} if plan.target else {}),
        **({"measure_on": plan.measured_on} if plan.measured_on else {}),
        "step_labels": {name: step.table_label.to_json() for name, step in space.steps.items()},
        "device": plan.device.to_json(),
    }
    if plan.teacher is not None:
        stored["distillation"] = config.distillation.model_dump() | {"digest": plan.teacher.digest}
    if config.model:
        stored |= {"model": config.model, "weights": config.weights}
    return stored


def _options(plan: TrialPlan, task: Task) -> dict[str, Any]:
    return dict(json.loads(plan.task.options) if task.options is None else task.options)


def _build_baseline(space: SearchSpace, task: Task) -> None:
    family, knobs = space.families[space.baseline.family], space.baseline.knobs
    with torch.device("meta"):
        family.build(knobs, input_shape(space.baseline, task), len(task.classes))


def _try_out(family: Family, space: SearchSpace, task: Task, where: str) -> None:
    highest = {name: knob.highest for name, knob in space.knobs.items()}
    knobs = {short: highest[f"{IMPORTED}.{short}"] for short in family.knobs(task.resolutions)}
    if space.baseline.family == IMPORTED:
        knobs = dict(space.baseline.knobs)
    try_out(family, knobs, task.input_shape, len(task.classes), task.resolutions)
    shape, classes = task.input_shape(family.resolution(knobs)), len(task.classes)
    weights = str(knobs["weights"])
    network = family.build(knobs, shape, classes)
    try:
        rehearse(network, shape, classes)
    except Unfit as error:
        raise ModelRefused(f"model: {knobs['function']} cannot be used: {error}") from error
    if weights:
        for remark in read_checkpoint(network, weights_file(Path(str(knobs["folder"])), weights), weights).remarks:
            sys.stderr.write(f"{where}: weights: {weights}: {remark}\n")


def task_spec(section: TaskSection, where: str, folder: Path) -> TaskSpec:
    """Return the checked options of a task.

    Args:
        section: The section `task` of a study file.
        where: How messages name the file.
        folder: Folder in which relative paths start.

    Raises:
        ConfigError: The task or an option does not exist; the message says what is allowed.
    """
    check_name(section.name, TASKS, f"{where}: task")
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


def _teacher(config: StudyConfig, where: str, folder: Path, task: Task, space: SearchSpace) -> TeacherSpec | None:
    """Return the teacher after a trial run at each input side that it will see; None if the baseline teaches."""
    section = config.distillation
    if section.teacher == BASELINE:
        return None
    if not any(step.teacher_loss for step in space.steps.values()):
        raise ConfigError(
            f"{where}: distillation.teacher: no step learns from a teacher; add distillation to space.steps"
        )
    if section.resolution is not None and section.resolution not in task.resolutions:
        raise ConfigError(
            f"{where}: distillation.resolution: {section.resolution} is not allowed; allowed: {task.resolutions}"
        )
    candidates = [space.baseline, *space.smallest(), *(space.draw(n) for n in range(64))]
    students = {space.families[c.family].resolution(c.knobs) for c in candidates}
    spec = TeacherSpec(section.teacher, folder, section.weights or "", section.resolution or 0)
    try:
        network = build_teacher(spec, task)
        check_teacher(network, spec, task, [section.resolution] if section.resolution else sorted(students))
    except TeacherRefused as error:
        raise ConfigError(f"{where}: {error}") from error
    return replace(spec, digest=network_digest(network))


def _asks_for_features(space: SearchSpace) -> bool:
    """Return whether any candidate of the space may learn from the features of its teacher."""
    for name, step in space.steps.items():
        highest = {knob: space.knobs[f"{name}.{knob}"].highest for knob in step.knobs}
        if step.teacher_loss is not None and step.teacher_loss.hint_weight(highest) > 0:
            return True
    return False


def _swept(space: SearchSpace) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Yield the knobs of early exits that act without training and that the study leaves open, with their values."""
    for name in SWEPT_KNOBS:
        knob = space.knobs.get(f"{EXIT_STEP}.{name}")
        if isinstance(knob, Range | Levels) and not knob.is_fixed:
            yield name, knob.values


def _stored_training(section: TrainingSection) -> dict[str, Any]:
    """Return the keys that decide results.

    A key that was added later is left out at the value that earlier studies had, so that they still compare as equal.
    """
    without = {"mode", "supernet_epochs", "inherit_epochs"} if section.mode == "scratch" else {"epochs"}
    without |= {"precision"} if section.precision == "fp32" else set()
    return section.model_dump(exclude={"accelerator", "cache_size", *without})
