"""Arithmetic of the structural steps, worked out by hand."""

import torch
from torch import nn

from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.compression.step import TransformContext


def _apply(name: str, network: nn.Module, shape: tuple[int, ...], **knobs: float) -> nn.Module:
    transform = STEPS[name].transform
    assert transform is not None
    return transform(network, knobs, TransformContext(torch.zeros(1, *shape)))


def test_half_the_channels_of_each_layer_go() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5)
    )
    pruned = _apply("channel_pruning", network, (3, 8, 8), ratio=0.5)
    assert [tuple(p.shape) for p in pruned.parameters()] == [(8, 3, 3, 3), (8,), (16, 8, 3, 3), (16,), (5, 16), (5,)]


def test_the_channels_of_largest_norm_stay() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 8, 1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([9.0, 1, 8, 2, 7, 3, 6, 4]).view(8, 1, 1, 1))
        network[4].weight.fill_(1.0)
    pruned = _apply("channel_pruning", network, (1, 4, 4), ratio=0.5)
    assert pruned[0].weight.flatten().tolist() == [9, 8, 7, 6]  # type: ignore[index]


def test_a_matrix_of_low_rank_is_reproduced() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(16, 12)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(12, 3) @ torch.randn(3, 16))
    factored = _apply("low_rank", nn.Sequential(layer), (16,), ratio=0.25)  # rank 3 of 12
    images = torch.randn(5, 16)
    assert torch.allclose(factored(images), layer(images), atol=1e-4)
    assert sum(p.numel() for p in factored.parameters()) == 3 * (16 + 12) + 12


def test_tucker_keeps_the_shape_and_counts_as_expected() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 32, 3, stride=2, padding=1)
    factored = _apply("low_rank", nn.Sequential(layer), (16, 8, 8), ratio=0.5)
    images = torch.randn(2, 16, 8, 8)
    assert factored(images).shape == layer(images).shape
    assert sum(p.numel() for p in factored.parameters()) == 16 * 8 + 8 * 16 * 9 + 16 * 32 + 32


def test_factors_that_would_cost_more_are_not_made() -> None:
    layer = nn.Linear(4, 4, bias=False)  # rank 3 of 4 costs 24, the layer 16
    factored = _apply("low_rank", nn.Sequential(layer), (4,), ratio=0.75)
    assert isinstance(factored[0], nn.Linear)  # type: ignore[index]


def test_grouped_convolutions_are_left_alone() -> None:
    layer = nn.Conv2d(8, 8, 3, groups=8)
    factored = _apply("low_rank", nn.Sequential(layer, nn.Conv2d(8, 8, 1)), (8, 6, 6), ratio=0.25)
    assert torch.equal(factored[0].weight, layer.weight)  # type: ignore[index]
