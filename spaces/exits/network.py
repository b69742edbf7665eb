"""A network with early exits, at which images may leave before its end.

Source:
    Teerapittayanon, McDanel, Kung, BranchyNet, ICPR 2016, section III (exits, jointly trained);
    Zhang et al., Be Your Own Teacher, ICCV 2019, section 3 (the last exit teaches the others).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paredown.spaces.exits.rules import ExitRule

TEACHER_WEIGHT = 0.5
"""Weight of the last exit's outputs in the loss of an earlier exit; the labels have the rest."""
TEMPERATURE = 2.0
"""Temperature of the last exit's outputs in the loss of an earlier exit."""


class MultiExit(nn.Module):
    """Stages with an exit behind each of them but the last, which ends in the network's own classifier.

    In training, it returns the logits of all exits, `exits x n x classes`, the last exit last; otherwise it returns
    `n x classes`, each image from the exit at which it leaves. It computes all stages in either mode: only the exported
    file skips stages.

    Attributes:
        heads: Modules from the result of a stage to logits, `n x classes`, one for each stage but the last.
        stages: The stages, in order.
        after: Names of the layers behind which the exits stand.
        rule: Rule of the exits.
        weight: Weight of the loss of each exit but the last.

    Args:
        whole: Layers of the network that pruning must not shrink.
    """

    def __init__(
        self,
        stages: Sequence[nn.Module],
        heads: Sequence[nn.Module],
        after: Sequence[str],
        rule: ExitRule,
        weight: float,
        whole: Sequence[nn.Module] = (),
    ) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)  # first, so that the classifier stays the last layer
        self.stages = nn.ModuleList(stages)
        self.after, self.rule, self.weight = tuple(after), rule, weight
        self._whole = tuple(name for name, module in self.named_modules() if any(module is one for one in whole))

    def forward(self, x: Tensor) -> Tensor:
        """Map `n x c x h x w` to `n x classes`, or to `exits x n x classes` in training."""
        logits = self.all_logits(x)
        if self.training:
            return torch.stack(logits)
        chosen = logits[-1]
        for exit_ in reversed(range(len(self.heads))):
            chosen = torch.where(self.rule.leaves(logits[: exit_ + 1]), logits[exit_], chosen)
        return chosen

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the layers that pruning must not shrink: the last ones of the exits, and those of the network."""
        last = [[name for name, m in head.named_modules() if isinstance(m, nn.Linear)][-1] for head in self.heads]
        return self._whole + tuple(f"heads.{i}.{name}" for i, name in enumerate(last))

    def all_logits(self, x: Tensor) -> list[Tensor]:
        """Return the logits of each exit, `n x classes`, the last exit last."""
        logits = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            logits.append(self.heads[i](x) if i < len(self.heads) else x)
        return logits

    def taken(self, logits: Sequence[Tensor]) -> Tensor:
        """Return the exit at which each image leaves, `n`, counted from 0."""
        exits = torch.full((len(logits[0]), 1), len(self.heads), device=logits[0].device)
        for exit_ in reversed(range(len(self.heads))):
            exits[self.rule.leaves(list(logits[: exit_ + 1]))] = exit_
        return exits[:, 0]

    def part(self, index: int) -> nn.Module:
        """Return a stage with its head, a module from the result of the stage before to logits and its own result."""
        return StageWithHead(self.stages[index], self.heads[index] if index < len(self.heads) else None)

    def early_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the weighted loss of all exits but the last, a scalar.

        Each exit learns from the labels and from the last exit: `(1 - a) CE + a T^2 KL`.

        Args:
            logits: Logits as `forward` returns them in training, `exits x n x classes`.
            labels: Classes of the images, `n`.
        """
        teacher = F.log_softmax(logits[-1].detach() / TEMPERATURE, dim=1)
        total = logits.new_zeros(())
        for own in logits[:-1]:
            soft = F.kl_div(F.log_softmax(own / TEMPERATURE, dim=1), teacher, reduction="batchmean", log_target=True)
            total = total + (1 - TEACHER_WEIGHT) * F.cross_entropy(own, labels) + TEACHER_WEIGHT * TEMPERATURE**2 * soft
        return self.weight * total


class StageWithHead(nn.Module):
    """A stage with its head: it returns logits `n x classes` and its features; the last stage returns logits alone."""

    def __init__(self, stage: nn.Module, head: nn.Module | None) -> None:
        super().__init__()
        self.head, self.stage = head, stage

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor] | Tensor:
        """Run the stage, then the head."""
        features: Tensor = self.stage(x)
        return features if self.head is None else (self.head(features), features)


class Head(nn.Sequential):
    """The head of an exit, from the result of a stage to `n x classes`."""


class TokenMean(nn.Module):
    """The mean over tokens."""

    def forward(self, x: Tensor) -> Tensor:
        """Map `n x tokens x width` to `n x width`."""
        return x.mean(1)


def head(shape: tuple[int, ...], classes: int, kind: str) -> Head:
    """Return the layers of an exit.

    Args:
        shape: Shape of the result of the stage, `n x c x h x w` or `n x tokens x width`.
        classes: Number of classes of the task.
        kind: "linear" for the mean over all positions, then a linear layer; "convolution" for a 3 x 3 convolution with
            stride 2 to twice the channels before them, where the stage gives feature maps.
    """
    if len(shape) == 3:
        return Head(TokenMean(), nn.Linear(shape[2], classes))
    channels = shape[1]
    layers: list[nn.Module] = []
    if kind == "convolution":
        layers += [nn.Conv2d(channels, 2 * channels, 3, 2, 1, bias=False), nn.BatchNorm2d(2 * channels), nn.ReLU()]
        channels *= 2
    return Head(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
