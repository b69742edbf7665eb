"""Layers that several families share."""

from collections import OrderedDict
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from paredown.spaces.knob import Knobs

Layer = Callable[[], nn.Module]
"""Makes a layer without parameters, such as an activation."""
ACTIVATIONS: dict[str, Layer] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
}


def divisible(channels: float, multiple: int = 8) -> int:
    """Return the nearest multiple, which is at least one and at least 90 % of the given number.

    Source:
        Sandler et al., MobileNetV2, CVPR 2018; the rule is in its published code and in EfficientNet's.
    """
    nearest = max(multiple, int(channels + multiple / 2) // multiple * multiple)
    return nearest + multiple if nearest < 0.9 * channels else nearest


def named(**layers: nn.Module) -> nn.Sequential:
    """Return a sequence of layers under the given names."""
    return nn.Sequential(OrderedDict(layers))


def convolution(inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> nn.Conv2d:
    """Return a convolution without bias whose padding keeps the size of the image, apart from the stride."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


def conv_norm(inputs: int, outputs: int, kernel: int, stride: int, activation: Layer | None = None) -> nn.Sequential:
    """Return a convolution `conv`, its normalisation `norm` and, where one is given, an `activation`."""
    layers = {"conv": convolution(inputs, outputs, kernel, stride), "norm": nn.BatchNorm2d(outputs)}
    return named(**layers, **({} if activation is None else {"activation": activation()}))


def with_norm(name: str, layer: nn.Conv2d, activation: Layer | None = None) -> dict[str, nn.Module]:
    """Return a convolution NAME, its normalisation NAME_norm and, where one is given, NAME_activation."""
    layers: dict[str, nn.Module] = {name: layer, f"{name}_norm": nn.BatchNorm2d(layer.out_channels)}
    return layers if activation is None else layers | {f"{name}_activation": activation()}


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


class Block(nn.Module):
    """Named layers that run one after another; families add shortcuts to them.

    Attributes:
        path: Names of the layers, in the order in which they run.
        earlier_names: Earlier versions numbered the layers, in a sequence `body`, and those of a shortcut.

    Args:
        layers: The layers by name, in the order in which they run.
    """

    def __init__(self, layers: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.path = tuple(layers)
        shortcut = {"shortcut.0": "shortcut.conv", "shortcut.1": "shortcut.norm"}
        self.earlier_names = {"body": "", **{f"body.{i}": name for i, name in enumerate(self.path)}, **shortcut}

    def run_path(self, x: Tensor) -> Tensor:
        """Run the layers one after another on `n x c x h x w`."""
        for name in self.path:
            x = getattr(self, name)(x)
        return x


class InvertedBottleneck(Block):
    """Expand, filter each channel on its own, excite, project; with a residual where shapes allow.

    Args:
        inputs: Number of input channels.
        outputs: Number of output channels.
        stride: Stride of the filter.
        kernel: Side of the filter.
        expansion: Channels of the filter, as a multiple of `inputs`; 1 leaves the expanding convolution out.
        activation: Follows the expansion and the filter.
        excite: Makes the layer after the filter from the filter's number of channels; None leaves it out.

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
        hidden = inputs * expansion
        layers: dict[str, nn.Module] = {}
        if hidden != inputs:
            layers |= with_norm("expand", convolution(inputs, hidden, 1, 1), activation)
        layers |= with_norm("depthwise", convolution(hidden, hidden, kernel, stride, groups=hidden), activation)
        if excite is not None:
            layers["squeeze_excite"] = excite(hidden)
        super().__init__(layers | with_norm("project", convolution(hidden, outputs, 1, 1)))
        self.has_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map `n x inputs x h x w` to `n x outputs x h/stride x w/stride`."""
        y = self.run_path(x)
        return x + y if self.has_residual else y


def inverted_name(knobs: Knobs, name: str) -> str:
    """Return the name in a supernet of a parameter of a staged network of inverted bottlenecks.

    Networks that differ in depth, expansion or squeeze-excite give one layer one name, which is nearly the shared one:
    supernets on disk have `stem.weight` for `stem.conv.weight`, and `expand.norm` for `expand_norm`.
    """
    return name.replace("conv.", "").replace("_norm.", ".norm.")
