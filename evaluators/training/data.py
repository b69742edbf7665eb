"""The training and validation images of a task at one resolution, and their augmentation."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from paredown.evaluators.tasks.images import BATCH, Images
from paredown.evaluators.tasks.normalisation import NORMALISED_BYTES, Inputs, Normalisation
from paredown.evaluators.tasks.task import Augmentation, Split, SplitName, Task, normalisation_at, split_at

CUDA_SHARE = 0.25
"""Share of a GPU's free memory that training images may take."""


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

    def inputs(self, name: SplitName) -> Inputs:
        """Return the normalised images of training or validation; where they are many, each batch when asked for."""
        return self.normalise.inputs(self.train.images if name == "train" else self.validation.images)


class DeviceImages:
    """Normalised images on a device: all of them where they fit, else each batch when it is asked for.

    Args:
        images: As they are.
        normalise: What to do to them.
        device: Where they go.
    """

    def __init__(self, images: Images, normalise: Normalisation, device: torch.device) -> None:
        self._images, self._normalise, self._device = images, normalise, device
        size = math.prod(images.shape) * np.dtype(np.float32).itemsize
        self._all: Tensor | None = None
        if size <= _room(device):
            self._all = torch.empty(images.shape, device=device)
            for start in range(0, len(images), BATCH):
                rows = slice(start, start + BATCH)
                self._all[rows] = torch.from_numpy(normalise(images[rows]))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Return the images of some numbers."""
        if self._all is not None:
            return self._all[rows.to(self._all.device)]
        return torch.from_numpy(self._normalise(self._images[rows.numpy()])).to(self._device)


def _room(device: torch.device) -> float:
    """Return how many bytes of images a device may hold."""
    if device.type == "cuda":
        return CUDA_SHARE * torch.cuda.mem_get_info(device)[0]
    return NORMALISED_BYTES


def augmented(batch: Tensor, augmentation: Augmentation, random: torch.Generator) -> Tensor:
    """Return a batch `n x c x h x w` with random mirroring and a random shift of each image."""
    n, _, height, width = batch.shape
    if augmentation.flip:
        mirrored = (torch.rand(n, generator=random) < 0.5).to(batch.device)
        batch = torch.where(mirrored[:, None, None, None], batch.flip(3), batch)
    down, right = round(height * augmentation.crop), round(width * augmentation.crop)
    if down or right:
        padded = F.pad(batch, (right, right, down, down))
        tops, lefts = (
            torch.randint(0, 2 * reach + 1, (n,), generator=random).to(batch.device) for reach in (down, right)
        )
        rows = tops[:, None] + torch.arange(height, device=batch.device)
        columns = lefts[:, None] + torch.arange(width, device=batch.device)
        which = torch.arange(n, device=batch.device)[:, None, None]
        batch = padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return batch
