"""Small networks with what makes structural compression hard."""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Residual block: 3 x 3, 3 x 3, rectified after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm_first = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm_second = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm_second(self.second(self.norm_first(self.first(x)).relu()))
        return (x + y).relu()


def resnet(channels: int = 16, blocks: int = 3, classes: int = 5, inputs: int = 1) -> nn.Module:
    """Return two stages of residual blocks, the second one of twice the channels at half the size."""
    stages = [nn.Sequential(*(Block(channels * 2**i) for _ in range(blocks))) for i in range(2)]
    down = nn.Sequential(nn.Conv2d(channels, 2 * channels, 3, 2, 1), nn.BatchNorm2d(2 * channels), nn.ReLU())
    stem = nn.Sequential(nn.Conv2d(inputs, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU())
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * channels, classes))
    return nn.Sequential(stem, stages[0], down, stages[1], *head)


class Tangled(nn.Module):
    """A residual over a grouped convolution, a gate, a concatenation, a shared layer, depthwise and normalised groups.

    Its output layer is registered first, so that only running it tells which one that is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32, 5)
        self.stem = nn.Conv2d(1, 32, 3, padding=1)
        self.grouped = nn.Conv2d(32, 32, 3, padding=1, groups=4)
        self.norm = nn.BatchNorm2d(32)
        self.squeeze, self.expand = nn.Conv2d(32, 8, 1), nn.Conv2d(8, 32, 1)
        self.left, self.right = nn.Conv2d(32, 16, 1), nn.Conv2d(32, 16, 3, padding=1)
        self.joined = nn.Conv2d(32, 32, 1)
        self.group_norm = nn.GroupNorm(4, 32)
        self.shared = nn.Conv2d(32, 32, 3, padding=1)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = x + self.norm(self.grouped(x)).relu()
        x = x * self.expand(self.squeeze(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        x = torch.cat([self.left(x), self.right(x)], 1)
        x = self.group_norm(self.joined(x)).relu()
        x = self.shared(self.shared(x).relu()).relu()
        y: Tensor = self.head(self.depthwise(x).mean((2, 3)))
        return y


def settled(network: nn.Module, shape: tuple[int, ...] = (1, 12, 12)) -> nn.Module:
    """Return the network with statistics of some images, in evaluation mode."""
    torch.manual_seed(0)
    with torch.no_grad():
        for _ in range(3):
            network.train()(torch.randn(16, *shape))
    return network.eval()
