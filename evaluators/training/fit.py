"""Fits a network and keeps the weights of its best epoch."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from paredown.evaluators.errors import NotFinite, TrialStopped
from paredown.evaluators.training.best_epoch import BestEpoch
from paredown.evaluators.training.data import DeviceImages, TrainingData, augmented
from paredown.evaluators.training.freed_memory import keep_freed_memory
from paredown.evaluators.training.inference import score
from paredown.evaluators.training.loss_terms import LossTerms, TrainingLoss, training_loss
from paredown.evaluators.training.optimizer import adamw
from paredown.evaluators.training.precision import Arithmetic, Precision, arithmetic
from paredown.spaces.compression.step import Hold

OnEpoch = Callable[[int, dict[str, float]], str]
"""(epoch, metrics) -> why the trial stops here, or an empty text; raises TrialInterrupted where the search ends."""
OnBatch = Callable[[], None]
"""Called before each batch; raises what ends the trial there."""

NO_TERMS = LossTerms()
FIRST = torch.arange(1)
"""One image, as an example."""


def go_on() -> None:
    """Let training go on: an `OnBatch` for training that nothing interrupts."""


class TrainingCheckpoint(Protocol):
    """Keeps the state of a training run after an epoch.

    Attributes:
        is_due: Whether it is worth while to keep the state of an epoch that has just ended.
    """

    @property
    def is_due(self) -> bool:
        """See above."""

    def load(self) -> Mapping[str, Any] | None:
        """Return the state that was kept, or None."""

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep a state of tensors, numbers and texts."""


@dataclass(frozen=True)
class TrainingPlan:
    """How a candidate is trained.

    Attributes:
        epochs: Maximum number of passes over the training images; 0 where the network starts trained.
        finetune_epochs: Maximum number of passes after structural compression.
        batch_size: Number of images in each step of the optimizer.
        batch_from_network: Whether small networks take a larger batch at a higher rate; see `workload.fitted`.
        learning_rate: Peak of the one-cycle schedule.
        weight_decay: Weight decay of AdamW.
        label_smoothing: Share of probability that is spread over all classes.
        patience: Number of epochs without gain on the validation images after which training stops.
        max_seconds: Seconds after which training and fine-tuning of one candidate stop.
        accelerator: Device for training; "auto" takes CUDA where it is available.
        seed: Random seed of weights, order of images and augmentation.
        precision: Number format of the forward and backward passes; weights are float32 throughout.
        mode: Start of training: random weights ("scratch") or the slice of a supernet ("inherit").
        supernet_epochs: Number of passes over the training images that train the supernet.
        inherit_epochs: Maximum number of passes that train a candidate after it has inherited.
        cache_bytes: Maximum size of the folder that keeps trained, uncompressed networks for candidates that differ
            in compression alone; 0 keeps none.
    """

    epochs: int = 20
    finetune_epochs: int = 8
    batch_size: int = 64
    batch_from_network: bool = False
    learning_rate: float = 4e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.0
    patience: int = 6
    max_seconds: float = 600.0
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0
    precision: Precision = "fp32"
    mode: Literal["scratch", "inherit"] = "scratch"
    supernet_epochs: int = 60
    inherit_epochs: int = 2
    cache_bytes: float = 2e9

    @property
    def first_epochs(self) -> int:
        """Maximum number of epochs for which a candidate is trained before it is compressed."""
        return self.inherit_epochs if self.mode == "inherit" else self.epochs

    @property
    def device(self) -> torch.device:
        """The device that `accelerator` names."""
        if self.accelerator == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.accelerator)


def fit(
    model: nn.Module,
    data: TrainingData,
    plan: TrainingPlan,
    *,
    epochs: int,
    learning_rate: float,
    deadline: float,
    first_epoch: int = 0,
    terms: LossTerms = NO_TERMS,
    holds: Sequence[Hold] = (),
    on_epoch: OnEpoch = lambda epoch, metrics: "",
    on_batch: OnBatch = go_on,
    checkpoint: TrainingCheckpoint | None = None,
) -> int:
    """Train the network in place, leave the weights of its best epoch in it, and return the number of epochs that ran.

    The best epoch has the highest validation accuracy, then the lowest validation loss.

    Args:
        model: The network, on the plan's device; maps `n x c x h x w` to `n x classes`.
        data: Training and validation images.
        plan: Plan of the training; the other arguments take precedence.
        epochs: Maximum number of epochs; with 0, the weights change only where a hold changes them.
        learning_rate: Peak of the one-cycle schedule.
        deadline: `time.monotonic()` after which no new epoch starts.
        first_epoch: Number of the first epoch, for `on_epoch`.
        terms: Terms beside the task's loss.
        holds: Constraints applied after each step; epochs before they are settled cannot be the best.
        on_epoch: Called after each epoch; may stop the trial.
        on_batch: Called before each batch; may end the trial.
        checkpoint: Where training goes on that was cut off, and keeps its state after an epoch. `on_epoch` is called
            again for the epochs before. The holds must begin with the network that they began with the first time.

    Raises:
        EvaluationError: The loss is not finite.
        TrialStopped: `on_epoch` gave a reason to stop.
        TrialInterrupted: `on_epoch` or `on_batch` raised it.
    """
    best = BestEpoch(model, plan.patience)
    done, start, curve = 0, time.monotonic(), list[tuple[int, dict[str, float]]]()
    if epochs:
        keep_freed_memory()
        model.to(memory_format=layout(model))  # type: ignore[call-overload]
        images = DeviceImages(data.train.images, data.normalise, plan.device)
        labels = torch.from_numpy(data.train.labels).to(plan.device)
        settled = max((hold.settled for hold in holds), default=0.0)
        with (
            arithmetic(plan.precision, plan.device) as passes,
            training_loss(terms, model, images[FIRST], labels, plan.label_smoothing, plan.seed) as loss,
        ):
            course = _Course(model, images, data, plan, loss, passes, holds, epochs, learning_rate)
            if (kept := checkpoint.load() if checkpoint else None) is not None:
                _tell_again(kept["curve"], on_epoch)
                done, curve, start = kept["done"], kept["curve"], start - kept["seconds"]
                deadline -= kept["seconds"]
                course.load_state_dict(kept["course"])
                best.load_state_dict(kept["best"])
                for hold, state in zip(holds, kept.get("holds", ()), strict=True):
                    hold.load_state(state)
            while done < epochs and not best.is_stale and (not done or time.monotonic() <= deadline):
                mean = course.epoch(on_batch)
                if not np.isfinite(mean):
                    raise NotFinite(f"the loss of epoch {first_epoch + done} is {mean}")
                accuracy, validation_loss = score(model, data.validation, data.normalise)
                metrics = {"loss": mean, "accuracy": accuracy, "validation_loss": validation_loss}
                if reason := on_epoch(first_epoch + done, metrics):
                    raise TrialStopped(reason)
                curve.append((first_epoch + done, metrics))
                done += 1
                if done / epochs >= settled:
                    best.compare(accuracy, validation_loss)
                if checkpoint and checkpoint.is_due:
                    seconds = time.monotonic() - start
                    states: dict[str, Any] = {"course": course.state_dict(), "best": best.state_dict()}
                    states["holds"] = [hold.state() for hold in holds]
                    checkpoint.save({"done": done, "curve": curve, "seconds": seconds, **states})
    best.restore()
    keep(holds, 1.0)
    return done


def _tell_again(curve: Sequence[tuple[int, dict[str, float]]], on_epoch: OnEpoch) -> None:
    for epoch, metrics in curve:
        if reason := on_epoch(epoch, metrics):
            raise TrialStopped(reason)


class _Course:
    """A run of epochs: the optimizer, its schedule and the order of the images."""

    def __init__(
        self,
        model: nn.Module,
        images: DeviceImages,
        data: TrainingData,
        plan: TrainingPlan,
        loss: TrainingLoss,
        passes: Arithmetic,
        holds: Sequence[Hold],
        epochs: int,
        learning_rate: float,
    ) -> None:
        self._model, self._images, self._augmentation, self._plan = model, images, data.augmentation, plan
        self._loss, self._passes, self._holds = loss, passes, holds
        self._layout = layout(model)
        self._random = torch.Generator().manual_seed(plan.seed)
        parameters = [*model.parameters(), *loss.parameters]
        self._optimizer = adamw(parameters, plan.weight_decay)
        self._steps, self._done = epochs * -(-len(images) // plan.batch_size), 0
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, learning_rate, total_steps=self._steps + 1
        )

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next epochs depend on."""
        return {
            "model": self._model.state_dict(),
            "loss": [parameter.detach() for parameter in self._loss.parameters],
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._passes.scaler.state_dict(),
            "random": self._random.get_state(),
            "torch_random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state_all() if self._plan.device.type == "cuda" else [],
            "steps": self._done,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to where `state_dict` was called."""
        self._model.load_state_dict(state["model"])
        for parameter, stored in zip(self._loss.parameters, state["loss"], strict=True):
            parameter.data.copy_(stored)
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._passes.scaler.load_state_dict(state["scaler"])
        self._random.set_state(state["random"])
        torch.set_rng_state(state["torch_random"])
        if state["cuda_random"]:
            torch.cuda.set_rng_state_all(state["cuda_random"])
        self._done = state["steps"]

    def epoch(self, on_batch: OnBatch) -> float:
        """Train on all images once and return their mean loss."""
        self._model.train()
        order = torch.randperm(len(self._images), generator=self._random)
        batches = order.split(self._plan.batch_size)  # type: ignore[no-untyped-call]
        total = 0.0
        for rows in batches:
            on_batch()
            if len(rows) > 1:  # one image has no statistics
                total += self._step(rows) * len(rows)
        return float(total / len(self._images))

    def _step(self, rows: Tensor) -> float:
        batch = augmented(self._images[rows], self._augmentation, self._random)
        with self._passes.forward():
            output = self._model(batch.contiguous(memory_format=self._layout))
        loss = self._loss(self._model, output.float(), rows)
        self._passes.step(loss, self._optimizer)
        self._loss.settle(self._model, float(self._schedule.get_last_lr()[0]))
        self._schedule.step()
        self._done += 1
        keep(self._holds, self._done / self._steps)
        return float(loss.item())


def layout(model: nn.Module) -> torch.memory_format:
    """Return the memory format of images and weights during training: channels last, which is faster.

    There are two exceptions. Weights of five dimensions, as of `Conv3d`, have no such format. With a strided 1 x 1
    convolution whose channels are no multiple of 8, PyTorch's backward pass writes beyond its memory on CPUs (seen with
    PyTorch 2.13 at 2, 3, 4 and 5 input channels) and kills the process.
    """
    if any(tensor.ndim == 5 for tensor in (*model.parameters(), *model.buffers())):
        return torch.contiguous_format
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    strided = [c for c in convolutions if set(c.kernel_size) == {1} and max(c.stride) > 1]
    if any(c.in_channels % 8 or c.out_channels % 8 for c in strided):
        return torch.contiguous_format
    return torch.channels_last


def keep(holds: Sequence[Hold], progress: float) -> None:
    """Apply the holds, which depend on the progress of fine-tuning, 0 to 1."""
    with torch.no_grad():
        for hold in holds:
            hold.after_step(progress)
