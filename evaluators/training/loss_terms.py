"""The loss that training minimises: the task's loss, combined with a teacher's, and penalties minimised beside it."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from paredown.evaluators.training.features import Watched, watch
from paredown.spaces.exits.network import MultiExit

CombinedLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(task loss, logits, teacher's logits) -> scalar loss."""

BoundProximal = Callable[[nn.Module, float], None]
"""(network, learning rate) -> None: the proximal operator of a step's penalty with its knobs bound, in place."""


@dataclass(frozen=True)
class TeacherTargets:
    """A teacher's outputs for the training images, and how they enter the loss.

    Attributes:
        logits: The teacher's logits, `n x classes`.
        combined: Function that combines the task's loss with the teacher's.
        features: The teacher's features, `n x width`; None without hints.
        hint_weight: Weight of matching the features; 0 without hints.
    """

    logits: NDArray[np.float32]
    combined: CombinedLoss
    features: NDArray[np.float32] | None = None
    hint_weight: float = 0.0


@dataclass(frozen=True)
class LossTerms:
    """The terms beside the task's own loss.

    Attributes:
        teacher: Targets of a teacher; None without one.
        proximals: Proximal operators of penalties, applied after each step of the optimizer; the penalties are not
            added to the loss.
    """

    teacher: TeacherTargets | None = None
    proximals: Sequence[BoundProximal] = ()


class TrainingLoss:
    """The loss of a batch.

    Attributes:
        parameters: Parameters that are trained with the network and discarded afterwards.
    """

    def __init__(self, terms: LossTerms, labels: Tensor, smoothing: float, hint: "Hint | None") -> None:
        self._terms, self._labels, self._smoothing, self._hint = terms, labels, smoothing, hint
        teacher = terms.teacher
        self._logits = None if teacher is None else torch.from_numpy(teacher.logits).float().to(labels.device)
        self.parameters: list[nn.Parameter] = [] if hint is None else [hint.map]

    def settle(self, model: nn.Module, learning_rate: float) -> None:
        """Apply the proximal operators after an optimizer step of a learning rate."""
        for proximal in self._terms.proximals:
            proximal(model, learning_rate)

    def __call__(self, model: nn.Module, output: Tensor, rows: Tensor) -> Tensor:
        """Return the scalar loss of the training images `rows`.

        Args:
            model: The network that gave the output.
            output: Logits, `n x classes`; `exits x n x classes` for a network with exits.
            rows: Indices of the images.
        """
        early = None
        if isinstance(model, MultiExit):
            early, output = model.early_loss(output, self._labels[rows]), output[-1]
        loss = F.cross_entropy(output, self._labels[rows], label_smoothing=self._smoothing)
        if self._terms.teacher is not None and self._logits is not None:
            loss = self._terms.teacher.combined(loss, output, self._logits[rows])
        if self._hint is not None:
            loss = loss + self._hint(rows)
        return loss if early is None else loss + early


class Hint:
    """The distance of the student's linearly mapped features from the teacher's.

    The teacher's features are scaled to a mean square of 1, so that the weight means the same for any teacher.

    Source:
        Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015, section 2.2, equation 3.

    Attributes:
        map: Matrix from the student's features to the teacher's, `teacher's width x student's width`.
    """

    def __init__(self, features: Tensor, weight: float, watched: Watched, width: int, random: torch.Generator) -> None:
        self._features = features / features.square().mean().sqrt().clamp_min(1e-12)
        self._weight, self._watched = weight, watched
        start = torch.randn(features.shape[1], width, generator=random) / width**0.5
        self.map = nn.Parameter(start.to(features.device))

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the weighted mean square distance for the latest batch, which holds the images `rows`."""
        mapped = F.linear(self._watched.features.float(), self.map)
        return self._weight * F.mse_loss(mapped, self._features[rows])


@contextlib.contextmanager
def training_loss(
    terms: LossTerms, model: nn.Module, example: Tensor, labels: Tensor, smoothing: float, seed: int
) -> Iterator[TrainingLoss]:
    """Set up the loss of a training run.

    Args:
        terms: Terms beside the task's loss.
        model: The student; its features are recorded where hints need them.
        example: A training image, `1 x c x h x w`, on the device of training.
        labels: Classes of the training images, `n`.
        smoothing: Share of probability that is spread over all classes.
        seed: Random seed of the map of the features.
    """
    teacher = terms.teacher
    if teacher is None or teacher.features is None or not teacher.hint_weight:
        yield TrainingLoss(terms, labels, smoothing, None)
        return
    with watch(model, example) as watched:
        width = _width(model, example, watched)
        features = torch.from_numpy(teacher.features).float().to(example.device)
        hint = Hint(features, teacher.hint_weight, watched, width, torch.Generator().manual_seed(seed))
        yield TrainingLoss(terms, labels, smoothing, hint)


def _width(model: nn.Module, example: Tensor, watched: Watched) -> int:
    model.eval()
    with torch.no_grad():
        model(example)
    return watched.features.shape[1]
