"""Networks as people bring them: what a compression step may easily take for something else.

Each maps `n x 1 x 12 x 12` to `n x 5`.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE, CLASSES = 12, 5


def unit(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a convolution with normalisation and rectifier."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class Standardised(nn.Conv2d):
    """Weight standardisation."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (self.weight.std((1, 2, 3), keepdim=True) + 1e-5)
        return self._conv_forward(x, weight, self.bias)


class PaddedAsNeeded(nn.Conv2d):
    """Pads one more at the end than at the beginning, inside of its forward."""

    def forward(self, x: Tensor) -> Tensor:
        total = self.kernel_size[0] - self.stride[0]
        before = total // 2
        return F.conv2d(F.pad(x, [before, total - before] * 2), self.weight, self.bias, self.stride)


class Equalised(nn.Conv2d):
    """Equalised learning rate: weights are scaled by the number of inputs while it runs."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(input, weight * (2 / weight[0].numel()) ** 0.5, bias)


class Adapted(nn.Linear):
    """A linear layer with an adapter beside it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.down, self.up = nn.Linear(inputs, 4, bias=False), nn.Linear(4, outputs, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + self.up(self.down(input))


class Odd(nn.Module):
    """Three units around a middle of its own; `wide` channels reach the head."""

    def __init__(self, convolution: Callable[..., nn.Module] | None = None) -> None:
        super().__init__()
        self.first, self.last = unit(1, 16, stride=2), unit(16, 16)
        self.middle = convolution(16, 16, 3, padding=1) if convolution else unit(16, 16, 1)
        self.head = nn.Linear(16, CLASSES)

    def mix(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.last(self.mix(self.middle(self.first(x))).relu()).mean((2, 3)))
        return y


class Shuffled(Odd):
    """Channel shuffle."""

    def mix(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.view(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w)


class Flipped(Odd):
    """Channels in reverse order."""

    def mix(self, x: Tensor) -> Tensor:
        return x.flip(1)


class Rolled(Odd):
    """Channels moved by three."""

    def mix(self, x: Tensor) -> Tensor:
        return x.roll(3, 1)


class Indexed(Odd):
    """Channels in the order of a buffer."""

    order: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("order", torch.randperm(16, generator=torch.Generator().manual_seed(1)))

    def mix(self, x: Tensor) -> Tensor:
        return x[:, self.order]


class Swapped(Odd):
    """The halves of the channels change places, by slices."""

    def mix(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, 8:], x[:, :8]], 1)


class Chunked(Odd):
    """Gated by half of its channels, which are taken by `chunk`."""

    def __init__(self) -> None:
        super().__init__()
        self.middle, self.last = unit(16, 32, 1), unit(16, 16)

    def mix(self, x: Tensor) -> Tensor:
        value, gate = x.chunk(2, 1)
        return value * gate.sigmoid()


class Pixels(Odd):
    """Channels become pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.middle, self.last, self.up = unit(16, 32, 1), unit(8, 16), nn.PixelShuffle(2)

    def mix(self, x: Tensor) -> Tensor:
        y: Tensor = self.up(x)
        return y


class Multiplied(Odd):
    """A depthwise convolution that makes two channels of each."""

    def __init__(self) -> None:
        super().__init__()
        self.middle, self.last = nn.Conv2d(16, 32, 3, padding=1, groups=16), unit(32, 16)


class Positioned(Odd):
    """A learned map is added to the features."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(1, 16, SIDE // 2, SIDE // 2))

    def mix(self, x: Tensor) -> Tensor:
        return x + self.positions


class Fused(Odd):
    """Two branches under learned weights, one a branch and channel."""

    def __init__(self) -> None:
        super().__init__()
        self.side = unit(16, 16)
        self.shares = nn.Parameter(torch.rand(2, 16, 1, 1))

    def mix(self, x: Tensor) -> Tensor:
        return self.shares[0] * x + self.shares[1] * self.side(x)


class Averaged(Odd):
    """Divides by the number of channels."""

    def mix(self, x: Tensor) -> Tensor:
        return x - x.mean(1, keepdim=True)


class GroupNormalised(Odd):
    """Statistics over several channels."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, 16)

    def mix(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x)
        return y


class Attention(nn.Module):
    """Queries, keys and values in one linear layer, split into heads."""

    def __init__(self, width: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.patch, self.qkv, self.out = nn.Conv2d(1, width, 4, 4), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        b, n, width = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = (q @ k.transpose(-2, -1) / math.sqrt(width / self.heads)).softmax(-1) @ v
        x = x + self.out(y.transpose(1, 2).reshape(b, n, -1))
        logits: Tensor = self.head((x + self.narrow(F.gelu(self.wide(x)))).mean(1))
        return logits


class ScaledAttention(Attention):
    """The same by PyTorch's fused operator."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        b, n, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, -1))
        logits: Tensor = self.head((x + self.narrow(F.gelu(self.wide(x)))).mean(1))
        return logits


class MultiHead(nn.Module):
    """`nn.MultiheadAttention`, whose output projection never runs by itself."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, 4, 4)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        logits: Tensor = self.head((x + self.narrow(self.wide(x).relu())).mean(1))
        return logits


class Encoder(nn.Module):
    """`nn.TransformerEncoderLayer` with learned positions and a class token."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, 4, 4)
        self.positions = nn.Parameter(torch.randn(1, 10, width))
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        y: Tensor = self.head(self.layer(x)[:, 0])
        return y


class Recurrent(nn.Module):
    """Rows of the image as a sequence."""

    def __init__(self, kind: Callable[..., nn.Module] = nn.LSTM) -> None:
        super().__init__()
        self.rows = kind(SIDE, 16, batch_first=True)
        self.hidden, self.head = nn.Linear(16, 32), nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.hidden(self.rows(x.flatten(1, 2))[0][:, -1]).relu())
        return y


class Signal(nn.Module):
    """Convolutions along one axis."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv1d(SIDE, 16, 3, padding=1), nn.BatchNorm1d(16)
        self.second, self.third = nn.Conv1d(16, 32, 3, 2, 1), nn.Conv1d(32, 16, 1)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x.flatten(1, 2))).relu()
        y: Tensor = self.head(self.third(self.second(x).relu()).relu().mean(2))
        return y


class Volume(nn.Module):
    """Convolutions along three axes, and one back to a larger image."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv3d(1, 8, 3, padding=1), nn.Conv3d(8, 16, 3, padding=1)
        self.up, self.last = nn.ConvTranspose2d(16, 8, 2, 2), unit(8, 16)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(x.unflatten(3, (3, 4))).relu()).relu().mean(4)
        y: Tensor = self.head(self.last(self.up(x)).mean((2, 3)))
        return y


class Tied(Odd):
    """One weight in two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.middle, self.again = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.again.weight = self.middle.weight

    def mix(self, x: Tensor) -> Tensor:
        y: Tensor = self.again(x.relu())
        return y


class Frozen(Odd):
    """A beginning that is not trained."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d)
        self.first.requires_grad_(False)
        self.middle.requires_grad_(False)


class Cosine(Odd):
    """A head whose weight is read, not called."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, CLASSES, bias=False)
        self.embedding = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.embedding(self.last(self.middle(self.first(x))).mean((2, 3)))
        return 8 * F.linear(F.normalize(y, dim=1), F.normalize(self.head.weight, dim=1))


class AsTyped(Odd):
    """Asks a layer for the type of its weight."""

    def mix(self, x: Tensor) -> Tensor:
        return x.to(self.last[0].weight.dtype)


def weight_normed(*args: int, **named: int) -> nn.Module:
    return nn.utils.parametrizations.weight_norm(nn.Conv2d(*args, **named))  # type: ignore[arg-type]


def spectral_normed(*args: int, **named: int) -> nn.Module:
    return nn.utils.parametrizations.spectral_norm(nn.Conv2d(*args, **named))  # type: ignore[arg-type]


def hooked(*args: int, **named: int) -> nn.Module:
    layer = nn.Conv2d(*args, **named)  # type: ignore[arg-type]
    layer.register_forward_hook(lambda module, inputs, output: output.flip(1))
    return layer


def padded(inputs: int, outputs: int, kernel: int, padding: int) -> nn.Module:
    return PaddedAsNeeded(inputs, outputs, kernel)


class WithAdapter(Odd):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = Adapted(16, 32), nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.hidden(self.last(self.middle(self.first(x))).mean((2, 3))).relu())
        return y


ODD: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: Odd(nn.Conv2d),
    "standardised": lambda: Odd(Standardised),
    "padded": lambda: Odd(padded),
    "equalised": lambda: Odd(Equalised),
    "weight_normed": lambda: Odd(weight_normed),
    "spectral_normed": lambda: Odd(spectral_normed),
    "hooked": lambda: Odd(hooked),
    "gru": lambda: Recurrent(nn.GRU),
    "lstm": Recurrent,
    "adapter": WithAdapter,
    **{
        made.__name__.lower(): made
        for made in (
            Shuffled, Flipped, Rolled, Indexed, Swapped, Chunked, Pixels, Multiplied, Positioned, Fused, Averaged,
            GroupNormalised, Attention, ScaledAttention, MultiHead, Encoder, Signal, Volume, Tied, Frozen, Cosine,
            AsTyped,
        )
    },
}  # fmt: skip
"""Every one of them, by name."""
