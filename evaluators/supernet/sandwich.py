"""Trains a supernet: at each step its largest, its smallest and two random networks, with the largest as teacher.

Source:
    Yu, Huang, Universally Slimmable Networks, ICCV 2019, sections 3.2 (sandwich rule) and 3.3 (in-place
    distillation); Yu et al., BigNAS, ECCV 2020, section 3.
"""

import math
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.supernet import checkpoint
from paredown.evaluators.supernet.checkpoint import SupernetRecord
from paredown.evaluators.supernet.supernet import Supernet
from paredown.evaluators.tasks.images import Images
from paredown.evaluators.tasks.task import Task, normalisation_at, split_at
from paredown.evaluators.training.data import augmented
from paredown.evaluators.training.fit import OnBatch, TrainingPlan, go_on
from paredown.evaluators.training.freed_memory import keep_freed_memory
from paredown.evaluators.training.optimizer import adamw
from paredown.spaces.families.family import longer_side

RANDOM_NETWORKS = 2
WARMUP = 0.1
"""Share of the steps in which the learning rate rises to its peak."""

OnSupernetEpoch = Callable[[SupernetRecord], bool]
"""Called after each epoch, once it is saved; returns whether training continues now."""


def train(
    supernet: Supernet,
    task: Task,
    plan: TrainingPlan,
    file: Path,
    on_epoch: OnSupernetEpoch,
    on_batch: OnBatch = go_on,
) -> SupernetRecord:
    """Train a supernet, continuing from its file, and return the progress.

    The result does not depend on where training was interrupted.

    Args:
        supernet: The supernet, whose tensors are trained in place.
        task: Task with images at every resolution that candidates need.
        plan: Plan of the training.
        file: File that is read first and written after each epoch.
        on_epoch: Called after each epoch; may end training for now.
        on_batch: Called before each batch; may end training within an epoch, which then runs again.

    Raises:
        TrialInterrupted: `on_batch` raised it.
        EvaluationError: A loss is not finite.
    """
    keep_freed_memory()
    for tensor in supernet.tensors.values():
        tensor.data = tensor.data.to(plan.device)
    optimizer = adamw(supernet.tensors.values(), plan.weight_decay)
    record = checkpoint.load(file, supernet.tensors, optimizer)
    images = _Images(task, plan.device)
    while record.epochs < plan.supernet_epochs:
        start = time.monotonic()
        losses = _epoch(supernet, images, plan, optimizer, record.epochs, on_batch)
        record.epochs, record.losses = record.epochs + 1, [*record.losses, losses]
        record.seconds += time.monotonic() - start
        file.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save(file, supernet.tensors, optimizer, record)
        if not on_epoch(record):
            break
    return record


def _epoch(
    supernet: Supernet,
    images: "_Images",
    plan: TrainingPlan,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    on_batch: OnBatch,
) -> tuple[float, float]:
    """Train for one epoch and return the mean losses of the largest and the smallest network."""
    seed = plan.seed * 1_000_003 + epoch  # an epoch draws alike whether training was interrupted before it or not
    order, dice = torch.Generator().manual_seed(seed), random.Random(seed)
    torch.manual_seed(seed)
    batches = [rows for rows in _batches(images.count, plan.batch_size, order) if len(rows) > 1]
    totals = np.zeros(2)
    for done, rows in enumerate(batches):
        on_batch()
        share = (epoch + done / len(batches)) / plan.supernet_epochs
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * _rate(share)
        optimizer.zero_grad()
        totals += _accumulate(supernet, images, rows, plan.label_smoothing, dice)
        optimizer.step()
    if not np.isfinite(totals).all():
        raise EvaluationError(
            f"the loss of the supernet in epoch {epoch} is {totals.max() / len(batches)}: training diverged at "
            f"training.learning_rate {plan.learning_rate:g}; name a lower one, and a new study"
        )
    largest, smallest = (totals / len(batches)).tolist()
    return largest, smallest


def _accumulate(
    supernet: Supernet, images: "_Images", rows: Tensor, smoothing: float, dice: random.Random
) -> tuple[float, float]:
    """Add the gradients of one step, and return the losses of the largest and the smallest network."""
    draw = dice.randrange(2**31)  # all networks see the same augmented images
    largest, smallest = dice.choice(supernet.largest), dice.choice(supernet.smallest)
    output = supernet.logits(largest, images.batch(rows, longer_side(supernet.shape(largest)), draw))
    loss = F.cross_entropy(output, images.labels[rows], label_smoothing=smoothing)
    loss.backward()  # type: ignore[no-untyped-call]
    soft = output.detach().softmax(1)
    others = [smallest, *(supernet.draw(dice) for _ in range(RANDOM_NETWORKS))]
    losses = []
    for candidate in others:
        output = supernet.logits(candidate, images.batch(rows, longer_side(supernet.shape(candidate)), draw))
        distilled = F.cross_entropy(output, soft)
        distilled.backward()  # type: ignore[no-untyped-call]
        losses.append(distilled.item())
    return loss.item(), losses[0]


def _rate(share: float) -> float:
    """Return the learning rate as a share of its peak: a linear warm-up, then half a cosine."""
    if share < WARMUP:
        return share / WARMUP + 1e-3
    return 0.5 * (1 + math.cos(math.pi * (share - WARMUP) / (1 - WARMUP)))


def _batches(count: int, size: int, order: torch.Generator) -> Iterator[Tensor]:
    return iter(torch.randperm(count, generator=order).split(size))  # type: ignore[no-untyped-call]


class _Images:
    """The training images at every resolution that is needed; each resolution is computed once."""

    def __init__(self, task: Task, device: torch.device) -> None:
        self._task, self._device = task, device
        self._scaled: dict[int, Images] = {}
        smallest = int(task.resolutions.lowest)
        self.labels = torch.from_numpy(split_at(task, "train", smallest).labels).to(device)
        self.count = len(self.labels)

    def batch(self, rows: Tensor, side: int, draw: int) -> Tensor:
        """Return normalised, augmented images whose longer side is `side`."""
        if side not in self._scaled:
            self._scaled[side] = split_at(self._task, "train", side).images
        pixels = self._scaled[side][rows.cpu().numpy()]
        images = torch.from_numpy(normalisation_at(self._task, side)(pixels)).to(self._device)
        generator = torch.Generator().manual_seed(draw)
        return augmented(images, self._task.augmentation, generator)
