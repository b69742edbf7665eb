"""Networks of a stem, stages of blocks, a head and a classifier."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from torch import nn

from paredown.spaces.families.family import ImageShape
from paredown.spaces.families.layers import Layer, conv_norm


@dataclass(frozen=True)
class Stage:
    """A sequence of blocks with the same number of output channels.

    Attributes:
        outputs: Number of output channels of each block.
        blocks: Number of blocks.
        stride: Stride of the first block; the others have 1.
        block: Makes a block from its numbers of input and output channels and its stride.
    """

    outputs: int
    blocks: int
    stride: int
    block: Callable[[int, int, int], nn.Module]


class StagedNetwork(nn.Sequential):
    """A stem, stages of blocks, a head and a classifier, from `n x c x h x w` to `n x classes`.

    Layers are named `stem.conv`, `stem.norm`, `stages.STAGE.BLOCK`, `head.conv`, `head.norm`, `classifier`.

    Attributes:
        earlier_names: Earlier versions numbered all of them in one sequence.

    Args:
        shape: Shape of one input.
        classes: Number of classes.
        stem: Number of output channels of the stem, a 3 x 3 convolution.
        stages: The stages in order.
        activation: Follows the stem and the head.
        stem_stride: Stride of the stem.
        head: Number of output channels of the head, a 1 x 1 convolution; None leaves it out.
    """

    def __init__(
        self,
        shape: ImageShape,
        classes: int,
        *,
        stem: int,
        stages: Iterable[Stage],
        activation: Layer,
        stem_stride: int = 1,
        head: int | None = None,
    ) -> None:
        super().__init__()
        self.stem = conv_norm(shape[0], stem, 3, stem_stride, activation)
        channels, built = stem, []
        for stage in stages:
            blocks = []
            for block in range(stage.blocks):
                blocks.append(stage.block(channels, stage.outputs, stage.stride if block == 0 else 1))
                channels = stage.outputs
            built.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*built)
        if head is not None:
            self.head = conv_norm(channels, head, 1, 1, activation)
            channels = head
        self.pool, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.classifier = nn.Linear(channels, classes)
        self.earlier_names = {str(i): name for i, name in enumerate(_layers(self))}


def _layers(sequence: nn.Sequential) -> Iterator[str]:
    """Yield the names of the layers and blocks in a sequence of sequences."""
    for name, layer in sequence.named_children():
        yield from (f"{name}.{inner}" for inner in _layers(layer)) if type(layer) is nn.Sequential else (name,)
