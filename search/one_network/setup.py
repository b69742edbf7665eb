"""Sets up the trials of one network that the command line or a program names."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from paredown.evaluators.errors import EvaluationError, TaskError
from paredown.evaluators.tasks.spec import load_task
from paredown.evaluators.tasks.task import Task
from paredown.evaluators.training.fit import OnEpoch
from paredown.search.errors import ConfigError
from paredown.search.study_file.schema import checked_config
from paredown.search.study_file.sections import TaskSection
from paredown.search.study_file.setup import Setup, set_up, task_spec
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial.run_trial import run_trial
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.errors import InfeasibleCandidate, SpaceError
from paredown.spaces.families.catalogue import PUBLISHED, variant
from paredown.spaces.families.family import Family
from paredown.spaces.families.imported import NAME as IMPORTED
from paredown.spaces.knob import Knobs
from paredown.spaces.space import joint_space
from paredown.studies.checking import checked
from paredown.studies.front import Model
from paredown.studies.result import TrialResult

WHERE = "command line"
NO_CAP_S = 1e9
"""Limit of the training time, which never applies: training ends with its epochs."""


def set_up_single(
    model: str,
    task: str | Mapping[str, Any],
    out: Path,
    *,
    weights: str | None = None,
    resolution: int | None = None,
    seed: int = 0,
    training: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    skip: Sequence[str] = (),
    keep: Sequence[str] = (),
) -> Setup:
    """Return the setup of a study whose baseline is one network.

    Args:
        model: A network of the literature such as `resnet20`, a family such as `mbconv` for its reference network,
            or `package.module:function`.
        task: `digits`, `image_folder:PATH`, `python:package.module:function`, or the section `task` of a study file.
        out: Folder of the trials' files.
        weights: File of the weights of a function's network, which then is not trained.
        resolution: Side of the images, in pixels; None for the published one, or the nearest that the task has.
        seed: Random seed of weights and order of images.
        training: Keys of the section `training` of a study file.
        folder: Folder in which imports and relative paths start; None for the working directory.
        skip: Names of layers that no step changes, with `*`, `?` and `[...]`.
        keep: Names of layers that keep their shape, in the same form.

    Raises:
        ConfigError: A name does not exist, or a value is not allowed; the message says what is allowed.
    """
    folder = folder or Path()
    section = _task_section(task)
    try:
        loaded = load_task(task_spec(section, WHERE, folder))
    except TaskError as error:
        raise ConfigError(f"{WHERE}: task.{section.name}.{error}") from error
    if resolution is not None and resolution not in loaded.resolutions:
        raise ConfigError(f"resolution: {resolution} is not allowed; allowed: {loaded.resolutions}")
    family, knobs = _network(model, loaded, resolution)
    data = {
        "study": "single",
        "task": section.model_dump(),
        "objectives": ["accuracy", "latency_ms", "size_bytes"],
        "space": {
            "families": [family],
            "steps": list(STEPS),
            "baseline": {f"{family}.{knob}": value for knob, value in knobs.items()},
            "skip": list(skip),
            "keep": list(keep),
        },
        "training": {"max_seconds": NO_CAP_S, **(training or {})},
        "sampler": "random",
        "seed": seed,
    }
    if weights is not None and family != IMPORTED:
        raise ConfigError(f"weights: only for a model given as package.module:function; {model} is trained")
    data |= {"model": model, "weights": weights} if family == IMPORTED else {}
    setup = set_up(checked_config(data, WHERE, {}), WHERE, folder, out)
    return replace(setup, plan=replace(setup.plan, swept=()))  # one network is wanted, not a front


def _task_section(task: str | Mapping[str, Any]) -> TaskSection:
    """Return the section `task` of a study file for the command line's `NAME:OPTION` or for the section itself."""
    if not isinstance(task, str):
        return TaskSection(**task)
    name, _, option = task.partition(":")
    return TaskSection(name=name, shorthand=option or None)


def _network(model: str, task: Task, resolution: int | None) -> tuple[str, Knobs]:
    """Return family and knobs of a network; the knobs are as near to the published ones as the task allows."""
    sides: dict[str, int] = {} if resolution is None else {"resolution": resolution}
    if ":" in model:
        return IMPORTED, sides
    if model in PUBLISHED:
        family = PUBLISHED[model]
        baseline = joint_space({model: family}, {}, task.resolutions, {}, {}).baseline.knobs
        return model, _at(family, baseline, sides)
    try:
        family, knobs = variant(model)
    except SpaceError as error:
        families = ", ".join(PUBLISHED)
        raise ConfigError(f"model: {error}; or a family: {families}; or package.module:function") from None
    allowed = family.knobs(task.resolutions)
    nearest = {name: allowed[name].nearest(value) for name, value in knobs.items()}
    return family.name, _at(family, nearest, sides)


def _at(family: Family, knobs: Knobs, sides: Mapping[str, int]) -> Knobs:
    if sides and "resolution" not in knobs:
        raise ConfigError(
            f"resolution: {family.name} takes {family.resolution(knobs)} px by its scaling; leave it out, or name a "
            "network whose resolution is a knob"
        )
    return {**knobs, **sides}


def finished(candidate: Candidate, plan: TrialPlan, number: int, on_epoch: OnEpoch) -> tuple[Model, TrialResult]:
    """Run a trial, and raise an error where it does not give a model.

    Raises:
        InfeasibleCandidate: A step cannot apply to the network.
        EvaluationError: The trial failed.
    """
    result = checked(run_trial(candidate, plan, on_epoch), plan.objectives)
    if result.outcome == "rejected":
        raise InfeasibleCandidate(result.reason)
    if result.outcome != "done":
        raise EvaluationError(result.reason)
    return Model(number, candidate, result.measurements, result.artifact), result
