"""Trains the network before compression: from scratch, from its slice of a supernet, or not at all if it is cached."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from paredown.evaluators.errors import TrialStopped
from paredown.evaluators.files.names import TEACHER_FILE
from paredown.evaluators.tasks.spec import load_task
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.fit import OnEpoch, layout
from paredown.evaluators.training.inference import recalibrate, score
from paredown.search.trial.checkpoint_cache import CheckpointCache
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial.supernets import FREE, inherit, plan_facts, supernet_digest, task_facts
from paredown.spaces.candidate import Candidate, digest_of
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.compression.step import Step
from paredown.spaces.earlier_names import present_state

CACHE_FOLDER = "cache"
"""Folder of the cached networks, within the study's folder."""
INHERITED_RATE = 0.5
"""Peak learning rate of a network that has inherited, as a share of that of training from scratch."""
AFTERWARDS = ("finetune_epochs", "cache_bytes", FREE)
"""Fields of the plan that do not act on this stage."""

Curve = list[tuple[int, dict[str, float]]]
Fit = Callable[[float, OnEpoch], int]
"""(peak learning rate, callback after each epoch) -> number of epochs that ran; it trains the network."""


@dataclass(frozen=True)
class Pretraining:
    """The record of a pretraining.

    Attributes:
        epochs: Number of epochs that ran.
        seconds: Seconds that it took when it was first done.
        accuracy: Validation accuracy of the network.
        facts: Facts for the trial: the supernet that the network inherited from, and whether the network was cached.
    """

    epochs: int
    seconds: float
    accuracy: float
    facts: dict[str, Any] = field(default_factory=dict)


def pretrain(
    network: nn.Module,
    candidate: Candidate,
    plan: TrialPlan,
    data: TrainingData,
    fit: Fit,
    on_epoch: OnEpoch,
) -> Pretraining:
    """Train a network in place up to where compression begins, unless the cache holds the result.

    A cached network comes with its learning curve: `on_epoch` is called for each of its epochs and may stop the trial
    as it would during training.

    Args:
        network: The network, with random weights, on the device.
        candidate: Candidate of the network.
        plan: Plan of the trials.
        data: The task's images at the candidate's resolution.
        fit: Function that trains the network.
        on_epoch: Called after each epoch; may stop the trial.

    Raises:
        EvaluationError: A loss is not finite.
        TrialStopped: `on_epoch` gave a reason to stop.
        TrialInterrupted: `on_epoch` raised it.
    """
    cache = CheckpointCache(plan.folder / CACHE_FOLDER, plan.training.cache_bytes)
    key = pretraining_digest(candidate, plan)
    if (stored := cache.get(key) if plan.training.cache_bytes else None) is not None:
        training_facts = json.loads(stored.notes["told"])
        for epoch, metrics in training_facts["curve"]:
            if reason := on_epoch(epoch, metrics):
                raise TrialStopped(reason)
        network.load_state_dict(present_state(network, stored.state))
        network.to(memory_format=layout(network))  # type: ignore[call-overload]
        torch.manual_seed(plan.training.seed)
        facts = training_facts["facts"] | {"trained_before": key[:16]}
        accuracy = _accuracy(training_facts["curve"], network, data)
        return Pretraining(training_facts["epochs"], training_facts["seconds"], accuracy, facts)
    curve: Curve = []

    def record(epoch: int, metrics: dict[str, float]) -> str:
        curve.append((epoch, metrics))
        return on_epoch(epoch, metrics)

    facts, epochs, rate = {}, 0, plan.training.learning_rate
    if plan.training.mode == "inherit":
        facts, rate = {"inherited": inherit(candidate, plan, network)}, rate * INHERITED_RATE
    start = time.monotonic()
    if plan.training.mode == "inherit":
        recalibrate(network, data)
    if plan.training.first_epochs:
        epochs = fit(rate, record)
    seconds = time.monotonic() - start
    if plan.training.cache_bytes:
        training_facts = {"epochs": epochs, "seconds": seconds, "facts": facts, "curve": curve}
        cache.put(key, network.state_dict(), {"told": json.dumps(training_facts)})
    torch.manual_seed(plan.training.seed)  # later stages draw alike whether the network was trained or cached
    return Pretraining(epochs, seconds, _accuracy(curve, network, data), facts)


def _accuracy(curve: Curve, network: nn.Module, data: TrainingData) -> float:
    """Return that of the best epoch, whose weights the network has; of one that was not trained, measure it."""
    if curve:
        return max(metrics["accuracy"] for _, metrics in curve)
    return score(network, data.validation, data.normalise)[0]


def pretraining_digest(candidate: Candidate, plan: TrialPlan) -> str:
    """Return the digest of all that determines the trained, uncompressed network."""
    acting = acting_steps(candidate)
    teacher = ""
    if plan.teacher is not None:
        teacher = plan.teacher.digest
    elif plan.baseline is not None and any(STEPS[name].teacher_loss for name in acting):
        teacher = sha256((plan.baseline.folder / TEACHER_FILE).read_bytes()).hexdigest()
    inherits = plan.training.mode == "inherit"
    return digest_of(
        {
            "architecture": candidate.uncompressed.to_json(),
            "steps": acting,
            "teacher": teacher,
            "task": task_facts(load_task(plan.task)),
            "training": plan_facts(plan.training, AFTERWARDS),
            "supernet": supernet_digest(plan, candidate.family) if inherits else "",
            "versions": [version("paredown"), torch.__version__],
        }
    )


def training_key(candidate: Candidate) -> str:
    """Return what is equal for the candidates of one study that share a trained, uncompressed network."""
    return digest_of({"architecture": candidate.uncompressed.to_json(), "steps": acting_steps(candidate)})


def acting_steps(candidate: Candidate) -> dict[str, dict[str, Any]]:
    """Return the steps of a candidate, with their knobs, that change the training of the uncompressed network."""
    return {name: dict(knobs) for name, knobs in candidate.steps.items() if _acts(STEPS[name])}


def _acts(step: Step) -> bool:
    """Return whether a step changes the network that is trained, or the loss that training minimises."""
    return any(hook is not None for hook in (step.attach, step.teacher_loss, step.proximal))
