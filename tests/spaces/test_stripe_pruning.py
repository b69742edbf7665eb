"""Stripe pruning: which weights go, that they stay gone, and that dead borders of kernels shrink without a trace."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from toy_networks import Tangled, resnet, settled

from paredown.evaluators.training.fit import keep
from paredown.spaces.compression.step import TransformContext
from paredown.spaces.compression.stripe_pruning import KERNELS, STRIPE_PRUNING, _shrunk
from paredown.spaces.compression.target import Target
from paredown.spaces.errors import InfeasibleCandidate, SpaceError
from paredown.spaces.knob import Value

EXAMPLE = torch.zeros(1, 1, 12, 12)


def pruned(network: nn.Module, given: TransformContext | None = None, **knobs: Value) -> nn.Module:
    assert STRIPE_PRUNING.transform is not None
    return STRIPE_PRUNING.transform(
        network, {"ratio": 0.5, "axis": "stripe"} | knobs, given or TransformContext(EXAMPLE)
    )


def weight_of(layer: nn.Conv2d, weight: Tensor) -> nn.Conv2d:
    with torch.no_grad():
        layer.weight.copy_(weight)
    return layer


def test_the_stripes_of_least_norm_go_by_hand() -> None:
    # two filters of two inputs, 1 x 2 kernels: norms of the four stripes 5, 1 | 2, 8.06...
    weight = torch.tensor([[[[3.0, 1]], [[4.0, 0]]], [[[2.0, 1]], [[0.0, 8]]]])
    layer = weight_of(nn.Conv2d(2, 2, (1, 2), bias=False), weight)
    given = TransformContext(torch.zeros(1, 2, 4, 4))
    changed = pruned(nn.Sequential(layer), given)
    expected = torch.tensor([[[[3.0, 0]], [[4.0, 0]]], [[[0.0, 1]], [[0.0, 8]]]])
    assert torch.equal(changed[0].weight, expected)  # type: ignore[index]
    assert given.decided == {KERNELS: {}}


@pytest.mark.parametrize(
    ("axis", "stripes"), [("stripe", 8 * 9), ("row", 8 * 3), ("column", 8 * 3), ("channel", 8 * 4)]
)
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.875])
def test_the_share_of_each_axis_that_goes(axis: str, stripes: int, ratio: float) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 8, 3, padding_mode="circular", padding=1))  # keeps its kernel
    weight = pruned(network, TransformContext(torch.zeros(1, 4, 6, 6)), axis=axis, ratio=ratio)[0].weight  # type: ignore[index]
    along = {"stripe": (1,), "row": (1, 3), "column": (1, 2), "channel": (2, 3)}[axis]
    zero = (weight.abs().sum(along) == 0).sum().item()
    assert zero == round(stripes * ratio)
    assert (weight == 0).sum().item() == zero * weight.numel() // stripes


def test_a_dead_border_shrinks_the_kernel_by_hand() -> None:
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 1:, 1] = torch.tensor([2.0, 3.0])  # centre and below
    layer = weight_of(nn.Conv2d(1, 1, 3, padding=1, bias=False), weight)
    given = TransformContext(torch.zeros(1, 1, 3, 3))
    changed = pruned(nn.Sequential(layer), given, ratio=0.75)  # 7 of 9 stripes, those that are zero
    assert given.decided == {KERNELS: {"0": [1, 3, 1, 2]}}
    assert isinstance(changed[0], nn.Sequential)  # type: ignore[index]
    assert changed[0][1].weight.flatten().tolist() == [2, 3]  # type: ignore[index]
    image = torch.arange(1.0, 10).view(1, 1, 3, 3)
    expected = [[2 + 12, 4 + 15, 6 + 18], [8 + 21, 10 + 24, 12 + 27], [14, 16, 18]]
    assert changed(image)[0, 0].tolist() == expected


SHAPES = [
    {"padding": 1},
    {"padding": 0, "stride": 2},
    {"padding": 3, "stride": 2, "dilation": 2},
    {"padding": "same", "dilation": 2},
    {"padding": "valid"},
    {"padding": (2, 0), "groups": 2},
]


@pytest.mark.parametrize("options", SHAPES)
@pytest.mark.parametrize("kernel", [(3, 3), (5, 2), (1, 4)])
@torch.no_grad()
def test_shrinking_changes_no_output(options: dict[str, object], kernel: tuple[int, int]) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 4, 13, 14)
    rows = itertools.combinations(range(kernel[0] + 1), 2)
    for (top, bottom), (left, right) in itertools.product(rows, itertools.combinations(range(kernel[1] + 1), 2)):
        layer = nn.Conv2d(4, 6, kernel, **options)  # type: ignore[arg-type]
        mask = torch.zeros(kernel)
        mask[top:bottom, left:right] = 1
        layer.weight *= mask
        small = _shrunk(layer, [top, bottom, left, right])
        assert sum(p.numel() for p in small.parameters()) <= sum(p.numel() for p in layer.parameters())
        torch.testing.assert_close(small(images), layer(images))


@torch.no_grad()
def test_the_middle_of_a_kernel_needs_no_extra_padding() -> None:
    layer = nn.Conv2d(4, 6, 3, padding=1)
    small = _shrunk(layer, [1, 2, 1, 2])
    assert isinstance(small, nn.Conv2d)
    assert (small.kernel_size, small.padding) == ((1, 1), (0, 0))


@pytest.mark.parametrize("axis", ["stripe", "row", "column", "channel"])
@pytest.mark.parametrize("network", [resnet, Tangled])
def test_zeros_survive_fine_tuning(axis: str, network: type[nn.Module]) -> None:
    knobs: dict[str, Value] = {"ratio": 0.5, "axis": axis}
    changed = pruned(settled(network()), **knobs)
    before = {name: p == 0 for name, p in changed.named_parameters() if p.ndim == 4}
    assert sum(zero.sum().item() for zero in before.values()) > 0
    assert STRIPE_PRUNING.finetuning is not None
    optimizer = torch.optim.AdamW(changed.parameters(), 1e-2)
    with STRIPE_PRUNING.finetuning(changed, knobs, Target()) as hold:
        for step in range(3):
            optimizer.zero_grad()
            changed.train()(torch.randn(8, 1, 12, 12)).square().sum().backward()
            optimizer.step()
            keep([hold], step / 3)
    for name, parameter in changed.named_parameters():
        if name in before:
            assert torch.equal(parameter == 0, before[name])


def test_decided_kernels_are_made_again_whatever_the_weights() -> None:
    first_net = settled(resnet())
    with torch.no_grad():
        first_net[1][0].first.weight[:, :, 0] = 0  # type: ignore[index,union-attr]
    given = TransformContext(EXAMPLE)
    first = pruned(first_net, given)
    assert given.decided[KERNELS]["1.0.first"][:2] == [1, 3]
    second = pruned(resnet(), TransformContext(EXAMPLE, decided=dict(given.decided)))
    second.load_state_dict(first.state_dict())
    images = torch.randn(2, 1, 12, 12)
    assert torch.equal(first(images), second.eval()(images))
    assert not STRIPE_PRUNING.knows_shapes({"ratio": 0.5, "axis": "stripe"})


def test_what_has_no_stripes_is_noted_or_rejected() -> None:
    given = TransformContext(EXAMPLE)
    pruned(settled(Tangled()), given)
    assert given.skipped["left"] == "its filters have one stripe"
    given = TransformContext(EXAMPLE)
    pruned(settled(Tangled()), given, axis="channel")
    one = "its filters have one channel"
    assert given.skipped == {"stem": one, "depthwise": one, "head": "is a Linear: only Conv2d are treated"}
    with pytest.raises(InfeasibleCandidate, match="stripe_pruning: no layer has more than one row"):
        pruned(nn.Sequential(nn.Conv2d(4, 4, 1)), TransformContext(torch.zeros(1, 4, 4, 4)), axis="row")


def test_bad_knobs_are_refused_with_what_is_allowed() -> None:
    with pytest.raises(SpaceError, match=r"stripe_pruning.ratio: 1.0 is not allowed; allowed: 0.0 to 0.875"):
        pruned(resnet(), ratio=1.0)
    with pytest.raises(SpaceError, match=r"stripe_pruning.axis: 'filter' is not allowed; allowed: one of stripe, row"):
        pruned(resnet(), axis="filter")
