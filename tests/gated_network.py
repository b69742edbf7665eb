"""A small network with what kernels are made of: activations, squeeze-and-excitation, a shortcut, a product."""

import torch
from torch import Tensor, nn


class Gated(nn.Module):
    """A convolution, a gate, an inverted residual and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.gate = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.depthwise, self.project = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1)
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = x * torch.sigmoid(self.gate(self.pool(x)))
        x = x + self.project(nn.functional.silu(self.depthwise(x)))
        return self.head(self.pool(x).flatten(1))
