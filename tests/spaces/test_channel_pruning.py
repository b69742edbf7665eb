"""Channel pruning: which channels go, what goes with them, and what stays consistent."""

import pytest
import torch
from torch import Tensor, nn

from paredown.spaces.compression.channel_pruning import CHANNEL_PRUNING, MULTIPLE
from paredown.spaces.compression.step import Material
from paredown.spaces.errors import InfeasibleCandidate


class Residual(nn.Module):
    """Stem, residual of two convolutions, depthwise, head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.first = nn.Conv2d(16, 32, 1)
        self.second = nn.Conv2d(32, 16, 1)
        self.norm = nn.BatchNorm2d(16)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = x + self.norm(self.second(self.first(x).relu()))
        y: Tensor = self.head(self.depthwise(x).mean((2, 3)))
        return y


def pruned(network: nn.Module, ratio: float, shape: tuple[int, ...] = (3, 8, 8)) -> nn.Module:
    assert CHANNEL_PRUNING.transform is not None
    return CHANNEL_PRUNING.transform(network, {"ratio": ratio}, Material(torch.zeros(1, *shape)))


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in network.named_parameters()}


def test_channels_halve_and_the_residual_stays_consistent() -> None:
    assert shapes(pruned(Residual(), 0.5)) == {
        "stem.weight": (8, 3, 3, 3),
        "stem.bias": (8,),
        "first.weight": (16, 8, 1, 1),
        "first.bias": (16,),
        "second.weight": (8, 16, 1, 1),
        "second.bias": (8,),
        "norm.weight": (8,),
        "norm.bias": (8,),
        "depthwise.weight": (8, 1, 3, 3),
        "depthwise.bias": (8,),
        "head.weight": (5, 8),
        "head.bias": (5,),
    }


@pytest.mark.parametrize("ratio", [0.125, 0.25, 0.375, 0.5, 0.625, 0.75])
def test_what_is_left_is_a_multiple_and_depends_on_the_ratio_alone(ratio: float) -> None:
    torch.manual_seed(0)
    once, twice = pruned(Residual(), ratio), pruned(Residual(), ratio)  # other weights
    assert shapes(once) == shapes(twice)
    for left, channels in ((once.stem.out_channels, 16), (once.first.out_channels, 32)):  # type: ignore[union-attr]
        assert isinstance(left, int)
        assert left % MULTIPLE == 0
        assert abs(left - channels * (1 - ratio)) < MULTIPLE
    assert once.depthwise.groups == once.stem.out_channels  # type: ignore[union-attr]
    assert once(torch.randn(2, 3, 8, 8)).shape == (2, 5)


def test_channels_of_no_weight_go_and_the_outputs_stay() -> None:
    torch.manual_seed(0)
    network = Residual().eval().requires_grad_(False)
    dead, dead_inside = torch.arange(1, 16, 2), torch.arange(0, 32, 2)
    for layer in (network.stem, network.second, network.depthwise, network.norm):
        layer.weight[dead] = 0
        layer.bias[dead] = 0
    network.first.weight[:, dead] = 0
    network.head.weight[:, dead] = 0
    network.first.weight[dead_inside] = 0
    network.first.bias[dead_inside] = 0
    network.second.weight[:, dead_inside] = 0
    images = torch.randn(4, 3, 8, 8)
    expected = network(images)
    assert expected.abs().max() > 0.01
    assert (pruned(network, 0.5)(images) - expected).abs().max() < 1e-5


def test_the_output_layer_keeps_its_classes() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 7))
    assert shapes(pruned(network, 0.75, (3, 2, 2)))["3.weight"] == (7, 8)


def test_frozen_weights_stay_frozen() -> None:
    network = Residual()
    network.first.weight.requires_grad_(False)
    changed = dict(pruned(network, 0.5).named_parameters())
    assert changed["first.weight"].shape == (16, 8, 1, 1)
    assert [name for name, p in changed.items() if not p.requires_grad] == ["first.weight"]


def test_a_network_of_one_layer_cannot_be_pruned() -> None:
    with pytest.raises(InfeasibleCandidate, match="channel_pruning"):
        pruned(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), 0.5, (3, 2, 2))
