"""Grouped convolutions: what they cost, how much weight they keep, and that channels come back in their order."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from toy_networks import Tangled, resnet, settled

from paredown.evaluators.files.onnx_model import export, slimmed
from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.evaluators.metrics.evaluation_input import EvaluationInput
from paredown.evaluators.metrics.macs import MACS
from paredown.spaces.compression.grouped_convolution import GROUPED_CONVOLUTION, ChannelOrder, kept, orders
from paredown.spaces.compression.step import TransformContext
from paredown.spaces.errors import InfeasibleCandidate, SpaceError

EXAMPLE = torch.zeros(1, 1, 12, 12)


def grouped(network: nn.Module, groups: int, given: TransformContext | None = None) -> nn.Module:
    assert GROUPED_CONVOLUTION.transform is not None
    return GROUPED_CONVOLUTION.transform(network, {"groups": groups}, given or TransformContext(EXAMPLE))


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("groups", [2, 4, 8])
def test_parameters_and_multiply_adds_fall_by_the_number_of_groups(groups: int) -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.Conv2d(32, 16, 1, bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )
    changed = grouped(network, groups)
    dense, dense_macs = 16 * 32 * 9 + 32 * 16, (16 * 32 * 9 + 32 * 16) * 144
    other, other_macs = 16 * 9 + 16 + 32 + 16 * 5 + 5, 16 * 9 * 144 + 16 * 5
    assert parameters(changed) == dense // groups + other
    assert MACS.evaluate(EvaluationInput(changed, (1, 12, 12))).value == dense_macs // groups + other_macs


@pytest.mark.parametrize("groups", [2, 4, 8])
@pytest.mark.parametrize("outputs", [16, 32])
def test_the_orders_keep_at_least_as_much_as_the_channels_as_they_lie(groups: int, outputs: int) -> None:
    for seed in range(5):
        weights = np.random.default_rng(seed).normal(size=(outputs, 24)) ** 2
        inputs, out = orders(weights, groups)
        assert sorted(inputs) == list(range(24))
        assert sorted(out) == list(range(outputs))
        as_they_lie = kept(weights, *(np.repeat(np.arange(groups), n // groups) for n in (24, outputs)))
        sorted_weights = weights[out][:, inputs]
        found = kept(sorted_weights, *(np.repeat(np.arange(groups), n // groups) for n in (24, outputs)))
        assert found > 1.1 * as_they_lie  # random weights: never so unlucky


@pytest.mark.parametrize("groups", [2, 4, 8])
@torch.no_grad()
def test_a_layer_that_is_grouped_in_disguise_is_found_and_reproduced(groups: int) -> None:
    torch.manual_seed(0)
    inner = nn.Conv2d(16, 32, 3, padding=1, groups=groups)
    into, out = torch.randperm(16), torch.randperm(32)
    dense = nn.Conv2d(16, 32, 3, padding=1)
    dense.weight.zero_()
    for group in range(groups):
        rows, columns = out.chunk(groups)[group], into.chunk(groups)[group]
        dense.weight[rows[:, None], columns[None, :]] = inner.weight.chunk(groups)[group]
    network = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), dense, nn.ReLU(), nn.Conv2d(32, 5, 1))
    images = torch.randn(2, 1, 12, 12)
    assert (grouped(network, groups)(images) - network(images)).abs().max() < 1e-5


@torch.no_grad()
def test_what_is_kept_is_the_dense_weight_and_the_rest_is_zero() -> None:
    torch.manual_seed(0)
    dense = nn.Conv2d(8, 12, 3, stride=2, padding=1, padding_mode="reflect")
    network = nn.Sequential(nn.Conv2d(1, 8, 1), dense, nn.Conv2d(12, 5, 1))
    changed = grouped(network, 4)
    into, thin, back = changed[1]  # type: ignore[index,misc]
    assert isinstance(into, ChannelOrder)
    masked = copy.deepcopy(dense)
    mask = torch.zeros(12, 8)
    for rows, columns in zip(back.order.argsort().chunk(4), into.order.chunk(4), strict=True):
        mask[rows[:, None], columns[None, :]] = 1
    masked.weight *= mask[..., None, None]
    images = torch.randn(2, 8, 9, 9)
    assert (changed[1](images) - masked(images)).abs().max() < 1e-5  # type: ignore[index,operator]
    assert thin.weight.shape == (12, 2, 3, 3)


def test_what_cannot_be_grouped_is_noted() -> None:
    given = TransformContext(EXAMPLE)
    changed = grouped(settled(Tangled()), 8, given)
    assert given.skipped == {
        "stem": "reads the image",
        "grouped": "has 4 groups already",
        "depthwise": "has 32 groups already",
        "head": "is a Linear: only Conv2d are treated",
    }
    assert changed.shared[1].groups == 8  # type: ignore[index,union-attr]
    network = nn.Sequential(nn.Conv2d(1, 12, 3), nn.Conv2d(12, 16, 1), nn.Conv2d(16, 12, 1), nn.Conv2d(12, 5, 1))
    given = TransformContext(EXAMPLE)
    with pytest.raises(InfeasibleCandidate, match="12 to 16 channels do not divide by 8"):
        grouped(network, 8, given)
    assert given.skipped["3"] == "gives the output"


@pytest.mark.parametrize("network", [resnet, Tangled])
def test_it_exports_with_the_same_outputs(network: type[nn.Module]) -> None:
    plain = settled(network())
    plain.group_norm = nn.Identity()  # the exporter warns of it
    changed = grouped(plain, 4).eval()
    images = torch.randn(4, 1, 12, 12)
    expected = changed(images).detach().numpy()
    actual = logits(open_session(slimmed(export(changed, (1, 12, 12)))), images.numpy())
    np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_the_orders_are_part_of_the_state() -> None:
    torch.manual_seed(0)
    first = grouped(settled(resnet()), 4)
    torch.manual_seed(1)
    second = grouped(resnet(), 4)
    second.load_state_dict(first.state_dict())
    images = torch.randn(4, 1, 12, 12)
    assert torch.equal(first.eval()(images), second.eval()(images))


def test_other_numbers_of_groups_are_refused() -> None:
    with pytest.raises(SpaceError, match=r"grouped_convolution.groups: 3 is not allowed; allowed: one of 1, 2, 4, 8"):
        grouped(resnet(), 3)
