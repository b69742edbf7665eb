"""The training and validation images of a task at one resolution, and their augmentation."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from paredown.evaluators.tasks.task import Augmentation, Normalisation, Split, Task, normalisation_at, split_at


@dataclass(frozen=True)
class TrainingData:
    """The images of one task at one resolution, with their normalisation and augmentation."""

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


def augmented(batch: Tensor, augmentation: Augmentation, random: torch.Generator) -> Tensor:
    """Return a batch `n x c x h x w` with random mirroring and a random shift of each image."""
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
