"""The supernets of a study: one per family, trained once, by the first process that needs it."""

import functools
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import nn

from paredown.evaluators.build import attached, input_shape
from paredown.evaluators.errors import TrialInterrupted
from paredown.evaluators.supernet import checkpoint, sandwich
from paredown.evaluators.supernet.checkpoint import SupernetRecord
from paredown.evaluators.supernet.supernet import Supernet
from paredown.evaluators.tasks.spec import load_task
from paredown.evaluators.tasks.task import Task
from paredown.evaluators.training.fit import OnBatch, TrainingPlan, go_on
from paredown.search.interruption import StopRequest
from paredown.search.listener import SILENT, ProgressListener
from paredown.search.trial.plan import TrialPlan
from paredown.spaces.candidate import Candidate, digest_of
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.space import SearchSpace, joint_space

SUPERNET_FOLDER = "supernet"
"""Folder of the supernets, within the study's folder."""
LOOK_S = 0.5
"""Seconds between two looks at whether a search that waits for another process is over."""
FREE = "batch_from_network"
"""Field of the plan that leaves the batch to the network: what a network makes of it is what acts."""
IRRELEVANT = ("epochs", "finetune_epochs", "patience", "max_seconds", "mode", "inherit_epochs", "cache_bytes", FREE)
"""Fields of the plan that do not act on a supernet."""


@dataclass(frozen=True)
class TrainedSupernet:
    """A supernet at the end of its training.

    Attributes:
        supernet: The supernet; candidates inherit its slices.
        digest: Digest of all that determines it.
        record: Record of its training.
    """

    supernet: Supernet
    digest: str
    record: SupernetRecord


def prepare_supernets(
    plan: TrialPlan,
    deadline: float | None,
    listener: ProgressListener = SILENT,
    stop: StopRequest | None = None,
) -> bool:
    """Train the study's supernets that are not finished, and return whether all are finished now.

    Args:
        plan: Plan of the trials; with `mode: scratch` there is nothing to do.
        deadline: `time.monotonic()` after which training ends with the next batch; None for no limit.
        listener: Listener that is notified of every epoch.
        stop: Request that ends training with the next batch as well.
    """
    if plan.training.mode != "inherit":
        return True
    epochs = plan.training.supernet_epochs

    def is_over() -> bool:
        return (stop is not None and stop.is_asked) or (deadline is not None and time.monotonic() >= deadline)

    def before_batch() -> None:
        if is_over():
            raise TrialInterrupted("the search ends")

    for family in json.loads(plan.space)["families"]:

        def after_epoch(record: SupernetRecord, family: str = family) -> bool:
            listener.supernet_epoch(family, record.epochs, epochs)
            return not is_over()

        listener.supernet_epoch(family, 0, epochs)
        try:
            record = _trained_or_awaited(plan, family, listener, is_over, after_epoch, before_batch)
        except TrialInterrupted:
            return False
        if record is None or record.epochs < epochs:
            return False
        listener.supernet_finished(family, record.epochs, record.seconds)
    return True


def _trained_or_awaited(
    plan: TrialPlan,
    family: str,
    listener: ProgressListener,
    is_over: Callable[[], bool],
    on_epoch: sandwich.OnSupernetEpoch,
    on_batch: OnBatch,
) -> SupernetRecord | None:
    """Return how far a supernet is; None where another process still trains it when the search is over."""
    is_awaited = False
    while True:
        try:
            return trained_supernet(plan, family, on_epoch, LOOK_S if is_awaited else 0, on_batch).record
        except Timeout:
            if is_over():
                return None
        if not is_awaited:
            listener.supernet_awaited(family)
            is_awaited = True


def trained_supernet(
    plan: TrialPlan,
    family: str,
    on_epoch: sandwich.OnSupernetEpoch = lambda record: True,
    wait_s: float = -1,
    on_batch: OnBatch = go_on,
) -> TrainedSupernet:
    """Return a family's supernet: this process trains it, waits for another one that does, or reads it from disk.

    Args:
        plan: Plan of the trials.
        family: Name in the catalogue.
        on_epoch: Called after each epoch that this process trains; may end training for now.
        wait_s: Maximum seconds to wait for another process that trains it; -1 for no limit.
        on_batch: Called before each batch that this process trains; may end training.

    Raises:
        TrialInterrupted: `on_batch` raised it.
        Timeout: The other process did not finish in time.
        EvaluationError: The loss is not finite.
    """
    task, digest = load_task(plan.task), supernet_digest(plan, family)
    file = plan.folder / SUPERNET_FOLDER / f"{family}-{digest[:16]}.safetensors"
    if (found := _finished(file, plan, family, digest)) is not None:
        return found
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock"), timeout=wait_s):
        supernet = _new(plan, family, task)
        return TrainedSupernet(
            supernet, digest, sandwich.train(supernet, task, plan.training, file, on_epoch, on_batch)
        )


def inherit(candidate: Candidate, plan: TrialPlan, network: nn.Module) -> dict[str, Any]:
    """Copy its slice of the supernet into a candidate's network, and return the facts for the trial.

    Batch statistics must be re-estimated before the network is used. Exits have no counterpart in the supernet and
    start from random weights.
    """
    found = trained_supernet(plan, candidate.family)
    if any(STEPS[name].attach for name in candidate.steps):
        task, family = load_task(plan.task), FAMILIES[candidate.family]
        shape = input_shape(candidate, task)
        with torch.random.fork_rng():
            plain = family.build(candidate.knobs, shape, len(task.classes))
            found.supernet.copy_slice_into(candidate, plain)
            network.load_state_dict(attached(plain, candidate, shape).state_dict())
    else:
        found.supernet.copy_slice_into(candidate, network)
    seconds = round(found.record.seconds, 3)
    return {"supernet": found.digest[:16], "supernet_epochs": found.record.epochs, "supernet_seconds": seconds}


def supernet_digest(plan: TrialPlan, family: str) -> str:
    """Return the digest of all that determines a supernet: space, data, training plan and version."""
    task = load_task(plan.task)
    space = _space(plan.space, family, task)
    return digest_of(
        {
            "knobs": space.describe(),
            "baseline": space.baseline.to_json(),
            "task": task_facts(task),
            "training": plan_facts(plan.training, IRRELEVANT),
            "version": version("paredown"),
        }
    )


def task_facts(task: Task) -> dict[str, Any]:
    """Return the facts of a task that determine a network trained on it."""
    augmentation = asdict(task.augmentation)
    return {"name": task.name, "data": task.digest, "classes": list(task.classes), "augmentation": augmentation}


def plan_facts(training: TrainingPlan, excluded: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields of a training plan but the excluded ones; the accelerator is the one that is used."""
    facts = asdict(training) | {"accelerator": training.device.type}
    return {name: value for name, value in facts.items() if name not in excluded}


def _finished(file: Path, plan: TrialPlan, family: str, digest: str) -> TrainedSupernet | None:
    """Return the supernet where its training is finished; None where it is not."""
    if not file.exists():
        return None
    found = _read(
        file, file.stat().st_mtime_ns, replace(plan, baseline=None, counted=(), seconds_left=None), family, digest
    )
    return found if found.record.epochs >= plan.training.supernet_epochs else None


@functools.lru_cache(maxsize=4)
def _read(file: Path, changed_ns: int, plan: TrialPlan, family: str, digest: str) -> TrainedSupernet:
    supernet = _new(plan, family, load_task(plan.task))
    return TrainedSupernet(supernet, digest, checkpoint.load(file, supernet.tensors))


def _new(plan: TrialPlan, family: str, task: Task) -> Supernet:
    with torch.random.fork_rng():
        return Supernet(_space(plan.space, family, task), task.channels, len(task.classes), plan.training.seed)


@functools.lru_cache(maxsize=16)
def _space(section: str, family: str, task: Task) -> SearchSpace:
    """Return the part of the study's space that one family has."""
    asked = json.loads(section)
    own = {
        key: {name: spec for name, spec in asked.get(key, {}).items() if name.startswith(f"{family}.")}
        for key in ("knobs", "baseline")
    }
    return joint_space({family: FAMILIES[family]}, {}, task.resolutions, own["knobs"], own["baseline"])
