"""Layer pruning: which blocks can go, that the least important ones go, and that it can be done again."""

import pytest
import torch
from torch import Tensor, nn
from toy_networks import Block, Tangled, resnet, settled

from paredown.spaces.compression.layer_pruning import LAYER_PRUNING, REMOVED
from paredown.spaces.compression.step import TransformContext
from paredown.spaces.errors import InfeasibleCandidate, SpaceError
from paredown.spaces.knob import Value

EXAMPLE = torch.zeros(1, 1, 12, 12)
BLOCKS = {f"{stage}.{block}" for stage in (1, 3) for block in range(3)}


def material() -> TransformContext:
    torch.manual_seed(1)
    return TransformContext(EXAMPLE, torch.randn(64, 1, 12, 12), torch.arange(64) % 5)


def shallow(network: nn.Module, given: TransformContext, **knobs: Value) -> nn.Module:
    assert LAYER_PRUNING.transform is not None
    return LAYER_PRUNING.transform(network, {"ratio": 0.5, "criterion": "loss"} | knobs, given)


def removed(network: nn.Module, given: TransformContext, **knobs: Value) -> list[str]:
    shallow(network, given, **knobs)
    names: list[str] = given.decided[REMOVED]
    return names


@pytest.mark.parametrize(("ratio", "count"), [(0.125, 1), (0.25, 2), (0.5, 3), (0.75, 4)])
def test_a_share_of_the_residual_blocks_goes_and_nothing_else(ratio: float, count: int) -> None:
    names = removed(settled(resnet()), material(), ratio=ratio)
    assert len(names) == count
    assert set(names) <= BLOCKS


def silence(block: nn.Module) -> None:
    assert isinstance(block, Block)
    nn.init.zeros_(block.norm_second.weight)
    nn.init.zeros_(block.norm_second.bias)
    block.requires_grad_(False)


@pytest.mark.parametrize("criterion", ["loss", "similarity"])
@pytest.mark.parametrize("which", [("1.0", "3.1"), ("1.2", "3.0"), ("3.1", "3.2")])
def test_blocks_that_do_nothing_go_wherever_they_are_and_the_outputs_stay(
    criterion: str, which: tuple[str, str]
) -> None:
    network, given = resnet(), material()
    assert given.images is not None
    assert given.labels is not None
    for name in which:
        silence(network.get_submodule(name))
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 1e-2)
    for _ in range(60):  # the other blocks learn what they are for
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(given.images), given.labels).backward()
        optimizer.step()
    changed = shallow(network.eval(), given, ratio=0.25, criterion=criterion)
    assert given.decided[REMOVED] == sorted(which)
    assert torch.equal(changed(given.images), network(given.images))


def test_the_loss_rise_decides_for_the_block_whose_gap_costs_least() -> None:
    network, given = settled(resnet()), material()
    assert given.images is not None
    assert given.labels is not None
    losses = {}
    for name in sorted(BLOCKS):
        again = TransformContext(EXAMPLE, decided={REMOVED: [name]})
        with torch.no_grad():
            losses[name] = nn.functional.cross_entropy(shallow(network, again)(given.images), given.labels).item()
    best = sorted(losses, key=lambda name: losses[name])[:3]
    assert removed(network, given) == sorted(best)


def test_before_training_the_choice_is_spread_and_needs_no_images() -> None:
    given = TransformContext(EXAMPLE)
    changed = shallow(settled(resnet()), given)
    assert given.decided[REMOVED] == ["1.1", "3.0", "3.2"]
    assert not LAYER_PRUNING.knows_shapes({"ratio": 0.5, "criterion": "loss"})
    assert sum(isinstance(m, Block) for m in changed.modules()) == 3


def test_what_was_decided_is_done_again() -> None:
    given = material()
    first = shallow(settled(resnet()), given)
    second = shallow(resnet(), TransformContext(EXAMPLE, decided=dict(given.decided)))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(EXAMPLE + 1), second.eval()(EXAMPLE + 1))


def test_single_layers_go_where_there_are_no_blocks_and_a_shared_one_everywhere() -> None:
    given = material()
    network = settled(Tangled())
    changed = shallow(network, given, ratio=0.75)
    assert set(given.decided[REMOVED]) <= {"grouped", "joined", "shared", "depthwise"}
    assert len(given.decided[REMOVED]) == 3
    assert changed(torch.randn(2, 1, 12, 12)).shape == (2, 5)


class Nosy(nn.Module):
    """Looks into its own block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block, self.plain = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.block.weight
        y: Tensor = self.plain(self.block(self.stem(x))).mean((2, 3)) * weight.mean()
        return y


def test_a_block_that_the_network_looks_into_stays_and_is_noted() -> None:
    given = TransformContext(EXAMPLE)
    assert removed(Nosy(), given, ratio=0.75) == ["plain"]
    assert "AttributeError" in given.skipped["block"]


def test_a_network_without_such_blocks_is_rejected() -> None:
    with pytest.raises(InfeasibleCandidate, match="layer_pruning: no block"):
        shallow(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(400, 5)), material())


def test_bad_knobs_are_refused_with_what_is_allowed() -> None:
    with pytest.raises(SpaceError, match=r"layer_pruning.ratio: 1.0 is not allowed; allowed: 0.0 to 0.75"):
        shallow(resnet(), material(), ratio=1.0)
    with pytest.raises(SpaceError, match=r"layer_pruning.criterion: 'position' .* one of loss, similarity"):
        shallow(resnet(), material(), criterion="position")
