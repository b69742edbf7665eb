"""Tiny networks of every kind that users bring, each from a function `(channels, classes)`, as in `model: zoo:plain`.

`tests/conftest.py` makes this module importable in worker processes.
"""

import torch
from torch import Tensor, nn

from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.knob import Range
from paredown.spaces.space import joint_space

WIDTH = 16


def _layer(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class _Net(nn.Module):
    """A stem, what `body` makes of it, means over the image, a linear layer."""

    def __init__(self, channels: int, classes: int, features: int = WIDTH) -> None:
        super().__init__()
        self.stem = _layer(channels, WIDTH)
        self.head = nn.Linear(features, classes)

    def body(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)).mean((2, 3)))


class Residual(_Net):
    """A residual around a dense convolution, then a depthwise one with a bias and no normalisation."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels, classes)
        self.inner = _layer(WIDTH, WIDTH)
        self.depthwise = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH)

    def body(self, x: Tensor) -> Tensor:
        return self.depthwise(x + self.inner(x))


class Separable(_Net):
    """Depthwise, then 1 x 1 convolutions that change the width."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels, classes, 24)
        self.depthwise, self.pointwise = _layer(WIDTH, WIDTH, stride=2, groups=WIDTH), _layer(WIDTH, 24, kernel=1)

    def body(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class Grouped(_Net):
    """Grouped convolutions, in a residual and before another width."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels, classes, 32)
        self.inner, self.outer = _layer(WIDTH, WIDTH, groups=4), _layer(WIDTH, 32, groups=2)

    def body(self, x: Tensor) -> Tensor:
        return self.outer(x + self.inner(x))


class SqueezeExcite(_Net):
    """A gate for each channel, from the means of all."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels, classes)
        self.reduce, self.expand = nn.Conv2d(WIDTH, 8, 1), nn.Conv2d(8, WIDTH, 1)
        self.outer = _layer(WIDTH, WIDTH)

    def body(self, x: Tensor) -> Tensor:
        return self.outer(x * self.expand(self.reduce(x.mean((2, 3), keepdim=True)).relu()).sigmoid())


class Concatenated(_Net):
    """Two branches side by side, as in DenseNet and Inception, and the input beside them."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels, classes)
        self.left, self.right = _layer(WIDTH, 8), _layer(WIDTH, 8, kernel=1)
        self.outer = _layer(2 * WIDTH, WIDTH)

    def body(self, x: Tensor) -> Tensor:
        return self.outer(torch.cat([self.left(x), self.right(x), x], dim=1))


class Shared(_Net):
    """One convolution used twice, with a normalisation of its own each time."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels, classes)
        self.inner = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)
        self.first, self.second = nn.BatchNorm2d(WIDTH), nn.BatchNorm2d(WIDTH)

    def body(self, x: Tensor) -> Tensor:
        x = self.first(self.inner(x)).relu()
        return self.second(self.inner(x)).relu()


def plain(channels: int, classes: int) -> nn.Module:
    """Layers in a row, downsampling, a linear layer on the flattened image."""
    flat = nn.Sequential(nn.Flatten(), nn.Linear(9 * 24, 16), nn.ReLU(), nn.Linear(16, classes))
    return nn.Sequential(_layer(channels, WIDTH), _layer(WIDTH, 24, stride=2), nn.MaxPool2d(2), flat)


def residual(channels: int, classes: int) -> nn.Module:
    return Residual(channels, classes)


def separable(channels: int, classes: int) -> nn.Module:
    return Separable(channels, classes)


def grouped(channels: int, classes: int) -> nn.Module:
    return Grouped(channels, classes)


def squeeze_excite(channels: int, classes: int) -> nn.Module:
    return SqueezeExcite(channels, classes)


def concatenated(channels: int, classes: int) -> nn.Module:
    return Concatenated(channels, classes)


def shared(channels: int, classes: int) -> nn.Module:
    return Shared(channels, classes)


def mbconv(channels: int, classes: int) -> nn.Module:
    space = joint_space({"mbconv": FAMILIES["mbconv"]}, {}, Range(8, 12, 4), {"mbconv.phi": 1.0}, {})
    return FAMILIES["mbconv"].build(space.baseline.knobs, (channels, 12, 12), classes)


ZOO = {
    made.__name__: made for made in (residual, mbconv, plain, separable, grouped, squeeze_excite, concatenated, shared)
}
