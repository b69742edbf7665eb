"""Layers that several families are made of."""

from collections.abc import Callable

from torch import Tensor, nn

Layer = Callable[[], nn.Module]
"""Makes a layer without parameters, such as an activation."""
ACTIVATIONS: dict[str, Layer] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
}


def divisible(channels: float, multiple: int = 8) -> int:
    """Return the nearest multiple, at least one, and never less than 90 % of what was asked.

    Source:
        Sandler et al., MobileNetV2, CVPR 2018; the rule is in its published code and in EfficientNet's.
    """
    nearest = max(multiple, int(channels + multiple / 2) // multiple * multiple)
    return nearest + multiple if nearest < 0.9 * channels else nearest


def convolution(inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> list[nn.Module]:
    """Return a convolution that keeps the side but for its stride, and its normalisation."""
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate computed from the means of all channels.

    Source:
        Hu et al., Squeeze-and-Excitation Networks, CVPR 2018, section 3.
    """

    def __init__(
        self, channels: int, squeezed: int, activation: Layer = nn.ReLU, gate: Callable[[], nn.Module] = nn.Sigmoid
    ) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.activation = activation()
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        """Map `n x c x h x w` to the same shape."""
        gates: Tensor = self.gate(self.expand(self.activation(self.reduce(self.pool(x)))))
        return x * gates


class InvertedBottleneck(nn.Module):
    """Expand, filter each channel on its own, excite, project; with a residual where shapes allow.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        stride: Of the filter.
        kernel: Side of the filter.
        expansion: Channels of the filter, as a multiple of `inputs`; 1 leaves the expanding convolution out.
        activation: After expansion and filter.
        excite: From the channels of the filter to a layer after it; None for none.

    Source:
        Sandler et al., MobileNetV2, CVPR 2018, section 3.3.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        *,
        kernel: int,
        expansion: int,
        activation: Layer,
        excite: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = []
        if hidden != inputs:
            layers += [*convolution(inputs, hidden, 1, 1), activation()]
        layers += [*convolution(hidden, hidden, kernel, stride, groups=hidden), activation()]
        if excite is not None:
            layers.append(excite(hidden))
        layers += convolution(hidden, outputs, 1, 1)
        self.body = nn.Sequential(*layers)
        self.has_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map `n x inputs x h x w` to `n x outputs x h/stride x w/stride`."""
        y: Tensor = self.body(x)
        return x + y if self.has_residual else y


def classifier(inputs: int, classes: int) -> list[nn.Module]:
    """Return the layers from `n x inputs x h x w` to `n x classes`: means over the image, then linear."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes)]
