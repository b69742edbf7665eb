"""Low rank: exact at full rank, best at lower ones, and as large as worked out by hand."""

import pytest
import torch
from torch import Tensor, nn

from paredown.spaces.compression.low_rank import (
    LOW_RANK,
    RANKS,
    _split_linear,
    _split_pointwise,
    _split_spatially,
    _tucker2,
)
from paredown.spaces.compression.step import TransformContext
from paredown.spaces.errors import InfeasibleCandidate, SpaceError
from paredown.spaces.knob import Value


def factored(
    network: nn.Module, shape: tuple[int, ...], ratio: float, given: TransformContext | None = None, **knobs: Value
) -> nn.Module:
    assert LOW_RANK.transform is not None
    return LOW_RANK.transform(network, {"ratio": ratio} | knobs, given or TransformContext(torch.zeros(1, *shape)))


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", ["linear", "pointwise", "tucker"])
@torch.no_grad()
def test_full_rank_reproduces_the_layer(kind: str, bias: bool) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 6, 9, 9)
    if kind == "linear":
        layer: nn.Linear | nn.Conv2d = nn.Linear(9, 5, bias=bias)
        split = _split_linear(layer, 5)  # type: ignore[arg-type]
    elif kind == "pointwise":
        layer = nn.Conv2d(6, 10, 1, stride=2, bias=bias)
        split = _split_pointwise(layer, 6)
    else:
        layer = nn.Conv2d(6, 10, 3, stride=2, padding=2, dilation=2, bias=bias)
        split = _tucker2(layer, 6, 10)
    assert (split(images) - layer(images)).abs().max() < 1e-5


@torch.no_grad()
def test_the_error_is_what_the_dropped_singular_values_leave() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(20, 16, bias=False)
    split = factored(nn.Sequential(layer), (20,), 0.25)  # rank 4 of 16
    product = split(torch.eye(20)).T
    dropped = torch.linalg.svdvals(layer.weight)[4:]
    assert torch.linalg.matrix_norm(layer.weight - product).item() == pytest.approx(dropped.norm().item(), rel=1e-4)


def _conv_of_rank(outputs: int, inputs: int, rank_out: int, rank_in: int, **options: object) -> nn.Conv2d:
    torch.manual_seed(0)
    layer = nn.Conv2d(inputs, outputs, 3, **options)  # type: ignore[arg-type]
    core = torch.randn(rank_out, rank_in, 3, 3)
    with torch.no_grad():
        layer.weight.copy_(
            torch.einsum("rskl,or,is->oikl", core, torch.randn(outputs, rank_out), torch.randn(inputs, rank_in))
        )
    return layer


@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1},
        {"stride": 2},
        {"padding": "same"},
        {"dilation": 2, "padding": 2},
    ],
)
@torch.no_grad()
def test_a_kernel_of_low_rank_is_reproduced_however_it_pads(options: dict[str, object]) -> None:
    layer = _conv_of_rank(24, 16, 6, 4, **options)
    images = torch.randn(2, 16, 9, 9)
    split = factored(nn.Sequential(layer), (16, 9, 9), 0.25)
    expected = layer(images)
    assert (split(images) - expected).abs().max() < 1e-4 * expected.abs().max()


@torch.no_grad()
def test_a_padded_pointwise_layer_keeps_its_shape_and_its_border() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 16, 1, padding=1)
    layer.weight.copy_((torch.randn(16, 4) @ torch.randn(4, 16))[:, :, None, None])
    images = torch.randn(2, 16, 5, 5)
    split = factored(nn.Sequential(layer), (16, 5, 5), 0.25)
    assert not isinstance(split[0], nn.Conv2d)  # type: ignore[index]
    assert (split(images) - layer(images)).abs().max() < 1e-4


def test_parameters_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(16, 32, 3, bias=False),  # ranks 8 and 16: 16 x 8 + 8 x 16 x 9 + 16 x 32
        nn.Conv2d(32, 32, 1),  # rank 16: 32 x 16 + 16 x 32 is no less than the layer, left alone
        nn.Conv2d(32, 32, 3, groups=32),  # depthwise, left alone
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 64),  # rank 16: 32 x 16 + 16 x 64, and the bias
    )
    tucker, pointwise = 16 * 8 + 8 * 16 * 9 + 16 * 32, 32 * 32 + 32
    depthwise, linear = 32 * 9 + 32, 32 * 16 + 16 * 64 + 64
    assert parameters(factored(network, (16, 8, 8), 0.5)) == tucker + pointwise + depthwise + linear


def test_the_rank_is_one_at_least() -> None:
    assert parameters(factored(nn.Sequential(nn.Linear(30, 1)), (30,), 0.25)) == 31  # 30 + 1 + 1 is more: left alone
    assert parameters(factored(nn.Sequential(nn.Linear(2, 40)), (2,), 0.25)) == 2 + 40 + 40


@pytest.mark.parametrize(("device", "kind"), [("meta", torch.float32), ("cpu", torch.float64)])
def test_factors_are_where_and_as_wide_as_the_layer_was(device: str, kind: torch.dtype) -> None:
    layers = (nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 1), nn.Flatten(), nn.Linear(64, 16))
    changed = factored(nn.Sequential(*layers).to(device, kind), (16, 4, 4), 0.25)
    assert parameters(changed) < parameters(nn.Sequential(*layers))
    assert {(p.device.type, p.dtype) for p in changed.parameters()} == {(device, kind)}


def test_layers_inside_of_blocks_are_found() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.ModuleDict({"one": nn.Linear(16, 16), "two": nn.Linear(16, 16)})

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = x + self.inner["two"](self.inner["one"](x))
            return y

    changed = factored(nn.Sequential(Block(), Block()), (16,), 0.25)
    assert parameters(changed) == 4 * (16 * 4 + 4 * 16 + 16)
    assert changed(torch.zeros(2, 16)).shape == (2, 16)


@pytest.mark.parametrize(
    "options",
    [{"padding": 1}, {"stride": (1, 2)}, {"padding": "same"}, {"dilation": (2, 1), "padding": (2, 0)}],
)
@torch.no_grad()
def test_spatial_factors_of_full_rank_reproduce_the_layer(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 6, (3, 5), **options)  # type: ignore[arg-type]
    split = _split_spatially(layer, 12)
    assert [m.kernel_size for m in split] == [(3, 1), (1, 5)]  # type: ignore[union-attr]
    images = torch.randn(2, 4, 9, 10)
    torch.testing.assert_close(split(images), layer(images), atol=1e-5, rtol=1e-4)


def test_spatial_parameters_by_hand() -> None:
    given = TransformContext(torch.zeros(1, 16, 8, 8))
    network = nn.Sequential(nn.Conv2d(16, 32, 3), nn.Conv2d(32, 32, 3, groups=32), nn.Conv2d(32, 32, 1))
    changed = factored(network, (), 0.25, given, kernel="spatial")  # rank 12 of 48, and 8 of 32
    spatial, depthwise, pointwise = 12 * 16 * 3 + 12 * 32 * 3 + 32, 32 * 9 + 32, 2 * 8 * 32 + 32
    assert parameters(changed) == spatial + depthwise + pointwise
    assert given.skipped == {"1": "has 32 groups"}
    assert given.decided == {}
    assert LOW_RANK.knows_shapes({"ratio": 0.25, "rule": "ratio", "kernel": "spatial"})


@pytest.mark.parametrize(("energy", "rank"), [(0.5, 1), (0.8, 1), (0.81, 2), (0.95, 3), (0.98, 3), (0.99, 4)])
@torch.no_grad()
def test_the_rank_that_keeps_the_energy_by_hand(energy: float, rank: int) -> None:
    layer = nn.Linear(8, 8, bias=False)
    layer.weight.copy_(torch.diag(torch.tensor([80.0, 14, 4, 2, 0, 0, 0, 0]).sqrt()))
    given = TransformContext(torch.zeros(1, 8))
    changed = factored(nn.Sequential(layer), (), 0.875, given, rule="energy", energy=energy)
    if rank == 4:  # 4 x 8 + 8 x 4 is no less than 8 x 8
        assert changed[0].weight.shape == (8, 8)  # type: ignore[index]
        assert "cost as much" in given.skipped["0"]
    else:
        assert given.decided == {RANKS: {"0": [rank]}}
        assert changed[0][0].weight.shape == (rank, 8)  # type: ignore[index]


def test_the_ratio_bounds_the_rank_by_energy() -> None:
    torch.manual_seed(0)
    given = TransformContext(torch.zeros(1, 32))
    factored(nn.Sequential(nn.Linear(32, 32)), (), 0.25, given, rule="energy", energy=0.99)
    assert given.decided == {RANKS: {"0": [8]}}


@pytest.mark.parametrize("kernel", ["tucker2", "spatial"])
def test_ranks_by_energy_are_taken_again_whatever_the_weights(kernel: str) -> None:
    def network() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(16, 24, 3), nn.ReLU(), nn.Conv2d(24, 24, 1), nn.Flatten(), nn.Linear(96, 5))

    torch.manual_seed(0)
    given = TransformContext(torch.zeros(1, 16, 4, 4))
    low = network()
    low[0] = _conv_of_rank(24, 16, 5, 4)
    first = factored(low, (), 0.875, given, rule="energy", energy=0.9, kernel=kernel)
    assert set(given.decided[RANKS]) >= {"0"}
    again = TransformContext(given.example, decided=dict(given.decided))
    second = factored(network(), (), 0.875, again, rule="energy", energy=0.9, kernel=kernel)
    second.load_state_dict(first.state_dict())
    images = torch.randn(2, 16, 4, 4)
    assert torch.equal(first(images), second(images))
    assert not LOW_RANK.knows_shapes({"ratio": 0.875, "rule": "energy"})


def test_nothing_to_factorise_is_rejected_and_bad_knobs_are_refused() -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"))
    with pytest.raises(InfeasibleCandidate, match="low_rank: the network has no linear layer"):
        factored(network, (8, 6, 6), 0.25)
    with pytest.raises(SpaceError, match=r"low_rank.ratio: 0 is not allowed; allowed: 0.25 to 1.0"):
        factored(nn.Linear(4, 4), (4,), 0)
    with pytest.raises(SpaceError, match=r"low_rank.energy: 1.0 is not allowed; allowed: 0.5 to 0.99"):
        factored(nn.Linear(4, 4), (4,), 0.5, rule="energy", energy=1.0)
    with pytest.raises(SpaceError, match=r"low_rank.rank: no such knob; allowed: ratio, rule, energy, kernel"):
        factored(nn.Linear(4, 4), (4,), 0.5, rank=0)
