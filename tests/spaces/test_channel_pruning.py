"""Channel pruning: which channels go, what goes with them, and what stays consistent."""

import itertools
import json

import pytest
import torch
from torch import Tensor, nn
from toy_networks import Tangled, resnet, settled

from paredown.spaces.compression.channel_pruning import CHANNEL_PRUNING, MULTIPLE
from paredown.spaces.compression.step import TransformContext
from paredown.spaces.errors import InfeasibleCandidate, SpaceError
from paredown.spaces.knob import Value


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


def pruned(
    network: nn.Module,
    ratio: float,
    shape: tuple[int, ...] = (3, 8, 8),
    given: TransformContext | None = None,
    **knobs: Value,
) -> nn.Module:
    assert CHANNEL_PRUNING.transform is not None
    return CHANNEL_PRUNING.transform(
        network, {"ratio": ratio} | knobs, given or TransformContext(torch.zeros(1, *shape))
    )


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


EXAMPLE = torch.zeros(1, 1, 12, 12)


def seen() -> TransformContext:
    torch.manual_seed(1)
    return TransformContext(EXAMPLE, torch.randn(64, 1, 12, 12), torch.arange(64) % 5)


@pytest.mark.parametrize("scope", ["layer", "global", "stage"])
@pytest.mark.parametrize("importance", ["l2", "l1", "bn_scale", "taylor"])
@pytest.mark.parametrize("multiple", [1, 4, 8])
def test_a_tangled_network_survives(scope: str, importance: str, multiple: int) -> None:
    network, given = settled(Tangled()), seen()
    knobs: dict[str, Value] = {"scope": scope, "importance": importance, "multiple": multiple}
    if scope == "stage":
        knobs |= {"early": 0.5, "middle": 1.0, "late": 1.5}
    changed = pruned(network, 0.5, given=given, **knobs)
    assert changed(torch.randn(2, 1, 12, 12)).shape == (2, 5)
    layers = {n: m for n, m in changed.named_modules() if isinstance(m, nn.Conv2d)}
    was = {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    assert sum(layer.out_channels < was[name].out_channels for name, layer in layers.items()) > 2
    for name, layer in layers.items():
        assert layer.out_channels % multiple == 0 or layer.out_channels == was[name].out_channels, name
        assert (name in given.skipped) == (layer.out_channels == was[name].out_channels)
    assert layers["grouped"].groups == 4
    assert layers["depthwise"].groups == layers["depthwise"].out_channels == layers["shared"].out_channels
    assert changed.head.out_features == 5  # type: ignore[union-attr]
    again = TransformContext(EXAMPLE, decided=json.loads(json.dumps(given.decided)))
    twice = pruned(network, 0.5, given=again, **knobs)
    assert all(
        torch.equal(a, b) for a, b in zip(changed.state_dict().values(), twice.state_dict().values(), strict=True)
    )
    assert all(p.grad is None for p in changed.parameters())


@torch.no_grad()
def test_whole_groups_lose_the_same_channels_and_dead_ones_leave_no_trace() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3, groups=4), nn.ReLU(), nn.Conv2d(16, 5, 4), nn.Flatten()
    )
    first, middle, last = network[0], network[2], network[4]
    for layer in (first, middle):
        layer.weight[1::2] = 0  # the second and fourth channel of each group of four
        layer.bias[1::2] = 0
    middle.weight[:, 1::2] = 0
    last.weight[:, 1::2] = 0
    images = torch.randn(3, 1, 8, 8)
    changed = pruned(network, 0.5, (1, 8, 8))
    assert changed[2].weight.shape == (8, 2, 3, 3)  # type: ignore[index]
    assert (changed(images) - network(images)).abs().max() < 1e-5


def chain(*channels: int) -> nn.Sequential:
    """Return convolutions with normalisation in between, one output channel a class."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(channels):
        layers += [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], 5)).eval()


@pytest.mark.parametrize(("importance", "left"), [("l1", [0, 1]), ("l2", [0, 2]), ("bn_scale", [1, 3])])
@torch.no_grad()
def test_each_importance_by_hand(importance: str, left: list[int]) -> None:
    network = chain(2, 4)
    network[0].weight.copy_(torch.tensor([[9.0, 0], [5, 5], [0, 7.2], [1, 1]]).view(4, 2, 1, 1))
    network[1].weight.fill_(1.0)
    network[5].weight.fill_(1.0)
    if importance == "bn_scale":
        network[1].weight.copy_(torch.tensor([0.1, 0.9, 0.2, -0.8]))
    changed = pruned(network, 0.5, (2, 4, 4), importance=importance, multiple=1)
    assert torch.equal(changed[0].weight, network[0].weight[left])  # type: ignore[index]


def test_taylor_sees_what_the_loss_does_not_need() -> None:
    torch.manual_seed(0)
    network, given = chain(1, 8), seen()
    with torch.no_grad():
        network[0].weight.fill_(1.0)
        network[0].weight[::2] = -50.0  # far the largest, but never positive behind the rectifier
        network[1].bias.fill_(0.0)
        network[1].running_mean[::2] = 1e4
        network[5].weight.normal_(0, 1.0)
    changed = pruned(network, 0.5, given=given, importance="taylor")
    assert changed[0].weight.flatten().tolist() == [1.0] * 4  # type: ignore[index]
    assert pruned(network, 0.5, given=seen())[0].weight.flatten().tolist() == [-50.0] * 4  # type: ignore[index]
    assert shapes(pruned(network, 0.5, given=TransformContext(EXAMPLE), importance="taylor")) == shapes(changed)


@torch.no_grad()
def test_global_takes_channels_where_they_matter_least() -> None:
    torch.manual_seed(0)
    network = chain(1, 16, 16)
    scales = (torch.full((16,), 1.0), torch.tensor([1.0] * 4 + [0.001] * 12))
    network[1].weight.copy_(scales[0] + torch.arange(16) * 1e-3)
    network[4].weight.copy_(scales[1])
    changed = pruned(network, 0.375, (1, 12, 12), scope="global", importance="bn_scale")  # 12 of 32
    assert [changed[i].num_features for i in (1, 4)] == [16, 4]  # type: ignore[index]
    assert not CHANNEL_PRUNING.knows_shapes({"ratio": 0.375, "scope": "global"})


def test_stages_lose_their_shares_by_hand() -> None:
    network = chain(1, 32, 32, 32)
    knobs: dict[str, Value] = {"scope": "stage", "early": 0.5, "middle": 1.0, "late": 1.5}
    changed = pruned(network, 0.5, (1, 12, 12), **knobs)
    assert [changed[i].num_features for i in (1, 4, 7)] == [24, 16, 8]  # type: ignore[index]
    assert CHANNEL_PRUNING.knows_shapes({"ratio": 0.5, **knobs})
    assert CHANNEL_PRUNING.knows_shapes({"ratio": 0.5})


def test_a_graph_that_cannot_be_followed_rejects_with_its_reason() -> None:
    class Shuffle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Conv2d(1, 16, 3), nn.Linear(16, 5)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.head(self.stem(x).view(1, 4, 4, 10, 10).transpose(1, 2).reshape(1, 16, 100).mean(2))
            return y

    with pytest.raises(InfeasibleCandidate, match="channel_pruning: the network cannot be pruned by its graph: "):
        pruned(Shuffle(), 0.5, (1, 12, 12))


def test_bad_knobs_are_refused_with_what_is_allowed() -> None:
    with pytest.raises(SpaceError, match=r"channel_pruning.ratio: 1.0 is not allowed; allowed: 0.0 to 0.75"):
        pruned(resnet(), 1.0)
    with pytest.raises(SpaceError, match=r"channel_pruning.multiple: 3 is not allowed; allowed: one of 4, 8, 16, 1"):
        pruned(resnet(), 0.5, multiple=3)
    with pytest.raises(SpaceError, match=r"channel_pruning.importance: 'random' is not allowed; allowed: one of l2"):
        pruned(resnet(), 0.5, importance="random")
