"""The training stages of a trial: pretraining, compression, fine-tuning. Each returns its result."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import nn

from paredown.evaluators.build import Compressed, apply_structural_steps
from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.files.model_writer import Skipped
from paredown.evaluators.files.names import TEACHER_FILE
from paredown.evaluators.tasks.spec import load_task
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.fit import OnBatch, OnEpoch, fit, go_on
from paredown.evaluators.training.inference import recalibrate
from paredown.evaluators.training.loss_terms import BoundProximal, CombinedLoss, LossTerms, TeacherTargets
from paredown.evaluators.training.teacher import teacher_outputs
from paredown.search.trial.epoch_checkpoint import EpochCheckpoint, TrialCheckpoints
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial.pretraining import Pretraining, pretrain
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.compression.step import Finetuning, Hold, Proximal, TeacherLoss
from paredown.spaces.compression.target import Target
from paredown.spaces.families.family import ImageShape, longer_side
from paredown.spaces.knob import Knobs

FINETUNE_RATE = 0.5
"""Peak learning rate of fine-tuning a network that still works, as a share of that of training."""
BROKEN = 0.5
"""Share of its accuracy below which compression leaves a network that is trained like a new one, at the full rate."""


Begin = Callable[[nn.Module, TrainingData, int], float]
"""(compressed network, data, number of the first epoch of fine-tuning) -> accuracy."""


def finetune_rate(left: float, before: float) -> float:
    """Return the peak learning rate of fine-tuning, as a share of that of training; decision 16 says why.

    Args:
        left: Accuracy of the compressed network.
        before: Its accuracy before compression.
    """
    return 1.0 if left < BROKEN * before else FINETUNE_RATE


@dataclass(frozen=True)
class TrainingStages:
    """Turns an untrained network into a trained, compressed one.

    Attributes:
        candidate: The candidate, which names the steps.
        plan: Plan of the trials.
        shape: Channels, height, width of one input.
        data: The task's images at the candidate's resolution.
        on_epoch: Called after each epoch of training and fine-tuning; may stop the trial.
        on_batch: Called before each batch of both; may end the trial.
        checkpoints: Where both go on that were cut off.
    """

    candidate: Candidate
    plan: TrialPlan
    shape: ImageShape
    data: TrainingData
    on_epoch: OnEpoch
    on_batch: OnBatch = go_on
    checkpoints: TrialCheckpoints | None = None

    def pretrain(self, model: nn.Module) -> Pretraining:
        """Train an untrained network in place up to where compression begins, and return the record of it."""
        training, deadline = self.plan.training, time.monotonic() + self.plan.training.max_seconds
        model.to(training.device)

        def train(learning_rate: float, on_epoch: OnEpoch) -> int:
            return fit(
                model,
                self.data,
                training,
                epochs=training.first_epochs,
                learning_rate=learning_rate,
                deadline=deadline,
                terms=self._loss_terms,
                on_epoch=on_epoch,
                on_batch=self.on_batch,
                checkpoint=self._checkpoint("train"),
            )

        return pretrain(model, self.candidate, self.plan, self.data, train, self.on_epoch)

    def compress(self, model: nn.Module) -> Compressed:
        """Return the trained network after the structural steps."""
        return apply_structural_steps(model, self.candidate, self.shape, self.data)

    def finetune(self, compressed: Compressed, pretraining: Pretraining, begin: Begin) -> Skipped:
        """Train a compressed network in place, in the time that pretraining has left.

        Args:
            compressed: The network.
            pretraining: How it was trained.
            begin: Measures the network as fine-tuning finds it, under its holds, and may stop the trial.

        Returns:
            Layers that each step does not hold, with the reason.
        """
        network = compressed.network
        training = self.plan.training
        deadline = time.monotonic() + training.max_seconds - pretraining.seconds
        with contextlib.ExitStack() as stack:
            held = {name: stack.enter_context(enter(compressed)) for name, enter in self._finetunings().items()}
            left = begin(network, self.data, pretraining.epochs)
            fit(
                network,
                self.data,
                training,
                epochs=training.finetune_epochs,
                learning_rate=training.learning_rate * finetune_rate(left, pretraining.accuracy),
                deadline=deadline,
                first_epoch=pretraining.epochs,
                holds=list(held.values()),
                on_epoch=self.on_epoch,
                on_batch=self.on_batch,
                checkpoint=self._checkpoint("finetune"),
                terms=replace(self._loss_terms, proximals=()),  # it recovers under the zeros that training gave
            )
        return {name: hold.skipped for name, hold in held.items() if hold.skipped}

    def recalibrate(self, network: nn.Module) -> None:
        """Re-estimate the batch statistics of a trained network; a network that was not trained keeps its own."""
        if self.plan.training.first_epochs or self.plan.finetunes(self.candidate):
            recalibrate(network, self.data)

    def _checkpoint(self, stage: str) -> EpochCheckpoint | None:
        return None if self.checkpoints is None else self.checkpoints.stage(stage)

    @cached_property
    def _loss_terms(self) -> LossTerms:
        return LossTerms(self._teacher_targets(), self._proximals())

    def _proximals(self) -> list[BoundProximal]:
        steps = [(STEPS[name].proximal, knobs) for name, knobs in self.candidate.steps.items()]
        skip = self.candidate.skip
        return [_bound(proximal, knobs, skip) for proximal, knobs in steps if proximal is not None]

    def _finetunings(self) -> dict[str, Callable[[Compressed], contextlib.AbstractContextManager[Hold]]]:
        """Return the fine-tuning hook of each step that has one, without the layers that its transform skipped."""
        steps = {name: (STEPS[name], self.candidate.steps[name]) for name in STEPS if name in self.candidate.steps}
        return {
            name: _leaving(step.finetuning, name, knobs, self.plan.device.target, self.candidate.skip)
            for name, (step, knobs) in steps.items()
            if step.finetuning is not None and step.finetunes(knobs)
        }

    def _teacher_targets(self) -> TeacherTargets | None:
        """Return the teacher's outputs; None where no step needs them, or where the baseline itself is trained."""
        for name, knobs in self.candidate.steps.items():
            step = STEPS[name]
            if step.teacher_loss is None or (outputs := self._teacher_outputs()) is None:
                continue
            weight = step.teacher_loss.hint_weight(knobs)
            if weight and "features" not in outputs:
                raise EvaluationError(f"{name}: the teacher's features were not stored, so there are no hints")
            combined = _with_knobs(step.teacher_loss, knobs)
            return TeacherTargets(outputs["logits"], combined, outputs.get("features"), weight)
        return None

    def _teacher_outputs(self) -> dict[str, NDArray[np.float32]] | None:
        plan = self.plan
        if plan.teacher is not None:
            return teacher_outputs(
                plan.teacher, load_task(plan.task), longer_side(self.shape), plan.folder, plan.training.device
            )
        return None if plan.baseline is None else load_file(plan.baseline.folder / TEACHER_FILE)


def _leaving(
    finetuning: Finetuning, step: str, knobs: Knobs, target: Target, skip: Sequence[str]
) -> Callable[[Compressed], contextlib.AbstractContextManager[Hold]]:
    return lambda done: finetuning(done.network, knobs, target, (*skip, *done.skipped.get(step, ())))


def _with_knobs(teacher_loss: TeacherLoss, knobs: Knobs) -> CombinedLoss:
    return lambda task_loss, logits, teacher: teacher_loss.combine(task_loss, logits, teacher, knobs)


def _bound(proximal: Proximal, knobs: Knobs, skip: Sequence[str]) -> BoundProximal:
    return lambda model, learning_rate: proximal(model, knobs, learning_rate, skip)
