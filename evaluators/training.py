"""Training: fit a network, keep its best epoch, re-estimate its batch statistics."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from paredown.evaluators.errors import EvaluationError, TrialStopped
from paredown.evaluators.tasks.task import (
    Augmentation,
    Normalisation,
    Split,
    Task,
    normalisation_at,
    split_at,
)
from paredown.spaces.compression.step import Hold

OnEpoch = Callable[[int, dict[str, float]], str]
"""(epoch, metrics) -> why to stop here; empty: go on. Raises TrialInterrupted where the whole search ends."""

CombinedLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(task loss, logits, teacher's logits) -> scalar loss."""

Penalty = Callable[[nn.Module], Tensor]
"""(network) -> scalar that is added to the loss."""


@dataclass(frozen=True)
class TrainingPlan:
    """How a candidate is trained.

    Attributes:
        epochs: At most so many passes over the training images.
        finetune_epochs: The same after structural compression.
        batch_size: Images a step.
        learning_rate: Peak of the one-cycle schedule.
        weight_decay: Of AdamW.
        label_smoothing: Share of probability spread over all classes.
        patience: Epochs without gain on the validation images after which training stops.
        max_seconds: Training and fine-tuning of one candidate stop after so long.
        accelerator: "auto" takes CUDA where there is one.
        seed: Of weights, order and augmentation.
        mode: "scratch" trains each candidate from random weights, "inherit" starts from its slice of a supernet.
        supernet_epochs: Passes over the training images that train the supernet.
        inherit_epochs: At most so many passes that train a candidate after it has inherited.
        cache_bytes: Trained, uncompressed networks are kept for other candidates up to so many bytes; 0: none.
    """

    epochs: int = 20
    finetune_epochs: int = 8
    batch_size: int = 64
    learning_rate: float = 4e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.0
    patience: int = 6
    max_seconds: float = 600.0
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0
    mode: Literal["scratch", "inherit"] = "scratch"
    supernet_epochs: int = 60
    inherit_epochs: int = 2
    cache_bytes: float = 0.0

    @property
    def first_epochs(self) -> int:
        """For how many epochs a candidate is trained at most before it is compressed."""
        return self.inherit_epochs if self.mode == "inherit" else self.epochs

    @property
    def device(self) -> torch.device:
        """The device that `accelerator` names."""
        if self.accelerator == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.accelerator)


@dataclass(frozen=True)
class TrainingData:
    """The images of one task at one resolution, on their way to the device."""

    train: Split
    validation: Split
    normalise: Normalisation
    augmentation: Augmentation

    @classmethod
    def of(cls, task: Task, resolution: int) -> "TrainingData":
        """Return the task's images at a resolution."""
        return cls(
            split_at(task, "train", resolution),
            split_at(task, "validation", resolution),
            normalisation_at(task, resolution),
            task.augmentation,
        )


def fit(
    model: nn.Module,
    data: TrainingData,
    plan: TrainingPlan,
    *,
    epochs: int,
    learning_rate: float,
    deadline: float,
    first_epoch: int = 0,
    teacher: NDArray[np.float32] | None = None,
    combined: CombinedLoss | None = None,
    penalties: Sequence[Penalty] = (),
    holds: Sequence[Hold] = (),
    on_epoch: OnEpoch = lambda epoch, metrics: "",
) -> int:
    """Train the network in place, leave its best epoch's weights in it and return how many epochs ran.

    Best is the highest validation accuracy, then the lowest validation loss.

    Args:
        model: On the plan's device; maps `n x c x h x w` to `n x classes`.
        data: Training and validation images.
        plan: Everything but what the other arguments say.
        epochs: At most so many.
        learning_rate: Peak of the one-cycle schedule.
        deadline: `time.monotonic()` after which no new epoch starts.
        first_epoch: Number of the first epoch, for `on_epoch`.
        teacher: Logits of the teacher for the training images, `n x classes`.
        combined: Joins the task's loss with the teacher's.
        penalties: Added to the loss.
        holds: Called after each step; epochs before they are settled do not count as the best.
        on_epoch: Told after each epoch; may stop the trial.

    Raises:
        EvaluationError: The loss is not finite.
        TrialStopped: `on_epoch` gave a reason to stop.
        TrialInterrupted: `on_epoch` raised it.
    """
    device = plan.device
    images = torch.from_numpy(data.normalise(data.train.images)).to(device)
    labels = torch.from_numpy(data.train.labels).to(device)
    logits = None if teacher is None else torch.from_numpy(teacher.astype(np.float32)).to(device)
    random = torch.Generator().manual_seed(plan.seed)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=plan.weight_decay)
    steps = -(-len(images) // plan.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=epochs * steps + 1)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    best: tuple[float, float] | None = None
    settled, done = max((hold.settled for hold in holds), default=0.0), 0
    best_state, since_best = copy.deepcopy(model.state_dict()), 0
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for rows in torch.randperm(len(images), generator=random).split(plan.batch_size):  # type: ignore[no-untyped-call]
            if len(rows) < 2:
                continue  # batch statistics of one image do not exist
            batch = augmented(images[rows], data.augmentation, random)
            output = model(batch.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(output, labels[rows], label_smoothing=plan.label_smoothing)
            if logits is not None and combined is not None:
                loss = combined(loss, output, logits[rows])
            for penalty in penalties:
                loss = loss + penalty(model)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            done += 1
            keep(holds, done / (epochs * steps))
            total += loss.item() * len(rows)
        if not np.isfinite(total):
            raise EvaluationError(f"the loss of epoch {first_epoch + epoch} is {total / len(images)}")
        accuracy, validation_loss = score(model, data.validation, data.normalise)
        metrics = {"loss": total / len(images), "accuracy": accuracy, "validation_loss": validation_loss}
        if reason := on_epoch(first_epoch + epoch, metrics):
            raise TrialStopped(reason)
        since_best += (epoch + 1) / epochs >= settled
        if since_best and (best is None or (accuracy, -validation_loss) > best):
            best, since_best = (accuracy, -validation_loss), 0
            best_state = copy.deepcopy(model.state_dict())
        if since_best >= plan.patience or time.monotonic() > deadline:
            break
    model.load_state_dict(best_state if best is not None else model.state_dict())
    keep(holds, 1.0)
    return epoch + 1


def keep(holds: Sequence[Hold], progress: float) -> None:
    """Tell the holds how far fine-tuning is."""
    with torch.no_grad():
        for hold in holds:
            hold.after_step(progress)


def score(model: nn.Module, split: Split, normalise: Normalisation) -> tuple[float, float]:
    """Return accuracy and cross-entropy of the network on a split."""
    outputs = predict(model, normalise(split.images))
    labels = torch.from_numpy(split.labels)
    accuracy = (outputs.argmax(1) == labels).float().mean().item()
    return accuracy, F.cross_entropy(outputs, labels).item()


def predict(model: nn.Module, images: NDArray[np.float32], batch_size: int = 256) -> Tensor:
    """Return `n x classes` logits on the CPU for normalised `n x c x h x w`."""
    device = next(model.parameters()).device
    model.eval()
    with torch.inference_mode():
        parts = [
            model(torch.from_numpy(images[i : i + batch_size]).to(device)).cpu()
            for i in range(0, len(images), batch_size)
        ]
    return torch.cat(parts)


def recalibrate(model: nn.Module, data: TrainingData, images: int = 1024) -> None:
    """Estimate the statistics of batch normalisation anew from training images.

    After a structural change the stored ones describe another network.

    Source:
        Li et al., EagleEye, ECCV 2020, section 3.3 (adaptive batch normalisation).
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    device = next(model.parameters()).device
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
        norm.train()
    # Drawn, since folders hold their images class by class; in equal parts, since each counts the same.
    rows = np.random.default_rng(0).permutation(len(data.train.images))[:images]
    inputs = torch.from_numpy(data.normalise(data.train.images[rows]))
    with torch.no_grad():
        for batch in inputs.chunk(-(-len(inputs) // 256)):
            if len(batch) > 1:
                model(batch.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def augmented(batch: Tensor, augmentation: Augmentation, random: torch.Generator) -> Tensor:
    """Return `n x c x h x w` with some images mirrored and each one shifted."""
    n, _, height, width = batch.shape
    if augmentation.flip:
        mirrored = (torch.rand(n, generator=random) < 0.5).to(batch.device)
        batch = torch.where(mirrored[:, None, None, None], batch.flip(3), batch)
    reach = round(height * augmentation.crop)
    if reach:
        padded = F.pad(batch, (reach,) * 4)
        tops, lefts = torch.randint(0, 2 * reach + 1, (2, n), generator=random).to(batch.device)
        rows = tops[:, None] + torch.arange(height, device=batch.device)
        columns = lefts[:, None] + torch.arange(width, device=batch.device)
        which = torch.arange(n, device=batch.device)[:, None, None]
        batch = padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return batch
