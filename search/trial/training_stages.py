"""The training stages of a trial: fit, compress, fine-tune."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import nn

from paredown.evaluators.build import Compressed, compress
from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.files.names import TEACHER_FILE
from paredown.evaluators.tasks.spec import load_task
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.fit import OnEpoch, fit
from paredown.evaluators.training.inference import recalibrate
from paredown.evaluators.training.loss_terms import CombinedLoss, LossTerms, TeacherTargets
from paredown.evaluators.training.teacher import taught
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial.pretraining import pretrain
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.compression.step import Hold, Loss, Proximal
from paredown.spaces.families.family import ImageShape
from paredown.spaces.knob import Knobs

T = TypeVar("T")
FINETUNE_RATE = 0.5
"""Peak learning rate of fine-tuning, as a share of that of training."""


@dataclass(frozen=True)
class Stages:
    """How one candidate gets from an untrained network to a trained, compressed one.

    Attributes:
        candidate: Names the steps.
        plan: How to train.
        shape: Channels, height, width of one input.
        data: The task's images at the candidate's resolution.
        on_epoch: Told after each epoch of training and fine-tuning; may stop the trial.
        timed: Context that adds the seconds spent in it to those of a stage.
        skipped: Gets the layers that each step left alone, with the reason.
        told: Gets where the trained network came from, if not from training from scratch.
    """

    candidate: Candidate
    plan: TrialPlan
    shape: ImageShape
    data: TrainingData
    on_epoch: OnEpoch
    timed: Callable[[str], contextlib.AbstractContextManager[None]]
    skipped: dict[str, dict[str, str]]
    told: dict[str, Any]

    def run(self, model: nn.Module) -> Compressed:
        """Train, compress and fine-tune an untrained network."""
        training, deadline = self.plan.training, time.monotonic() + self.plan.training.max_seconds
        model = model.to(training.device)
        terms = LossTerms(self._lesson(), self._proximals())
        with self.timed("train"):
            kind: dict[str, Any] = {"epochs": training.first_epochs, "deadline": deadline, "terms": terms}
            first = pretrain(
                model,
                self.candidate,
                self.plan,
                self.data,
                lambda rate, told: fit(model, self.data, training, learning_rate=rate, on_epoch=told, **kind),
                self.on_epoch,
            )
        self.told.update(first.facts)
        deadline = time.monotonic() + training.max_seconds - first.seconds
        compressed = Compressed(model, {}, {})
        if finetunes := self.plan.finetunes(self.candidate):
            with self.timed("compress"):
                compressed = compress(model, self.candidate, self.shape, self.data)
                self.skipped.update(compressed.skipped)
            with self.timed("finetune"), contextlib.ExitStack() as stack:
                holds = [stack.enter_context(enter(compressed.network)) for enter in self._finetunings()]
                fit(
                    compressed.network,
                    self.data,
                    training,
                    epochs=training.finetune_epochs,
                    learning_rate=training.learning_rate * FINETUNE_RATE,
                    deadline=deadline,
                    first_epoch=first.epochs,
                    holds=holds,
                    on_epoch=self.on_epoch,
                    terms=replace(terms, proximals=()),  # it recovers under the zeros that training gave
                )
        if training.first_epochs or finetunes:  # else its statistics are those it came with
            recalibrate(compressed.network, self.data)
        return compressed

    def _proximals(self) -> list[Callable[[nn.Module, float], None]]:
        steps = [(STEPS[name].proximal, knobs) for name, knobs in self.candidate.steps.items()]
        return [_at_rate(proximal, knobs) for proximal, knobs in steps if proximal is not None]

    def _finetunings(self) -> list[Callable[[nn.Module], contextlib.AbstractContextManager[Hold]]]:
        steps = [(STEPS[name], self.candidate.steps[name]) for name in STEPS if name in self.candidate.steps]
        return [_with(s.finetuning, knobs) for s, knobs in steps if s.finetuning is not None and s.finetunes(knobs)]

    def _lesson(self) -> TeacherTargets | None:
        """Return what the teacher says; None where no step asks, or where the baseline itself is trained."""
        for name, knobs in self.candidate.steps.items():
            step = STEPS[name]
            if step.loss is None or (said := self._teacher()) is None:
                continue
            weight = step.hint_weight(knobs) if step.hint_weight else 0.0
            if weight and "features" not in said:
                raise EvaluationError(f"{name}: the teacher's features were not stored, so there are no hints")
            return TeacherTargets(said["logits"], _with_knobs(step.loss, knobs), said.get("features"), weight)
        return None

    def _teacher(self) -> dict[str, NDArray[np.float32]] | None:
        plan = self.plan
        if plan.teacher is not None:
            return taught(plan.teacher, load_task(plan.task), self.shape[1], plan.folder, plan.training.device)
        return None if plan.baseline is None else load_file(plan.baseline.artifact / TEACHER_FILE)


def _with(hook: Callable[[nn.Module, Knobs], T], knobs: Knobs) -> Callable[[nn.Module], T]:
    return lambda model: hook(model, knobs)


def _with_knobs(loss: Loss, knobs: Knobs) -> CombinedLoss:
    return lambda task_loss, logits, teacher: loss(task_loss, logits, teacher, knobs)


def _at_rate(proximal: Proximal, knobs: Knobs) -> Callable[[nn.Module, float], None]:
    return lambda model, learning_rate: proximal(model, knobs, learning_rate)
