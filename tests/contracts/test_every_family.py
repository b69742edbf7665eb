"""What every architecture family must do."""

import pytest
import torch

from paredown.spaces.candidate import Candidate
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.knob import Knobs, Range
from paredown.spaces.space import SearchSpace, joint_space

RESOLUTIONS = Range(8, 16, 4)


def _space(name: str) -> SearchSpace:
    return joint_space({name: FAMILIES[name]}, {}, RESOLUTIONS, {}, {})


def _candidates(name: str) -> list[Candidate]:
    space = _space(name)
    return [*space.smallest(), *(space.draw(seed) for seed in range(8))]


def _shapes(name: str, knobs: Knobs) -> dict[str, torch.Size]:
    side = FAMILIES[name].resolution(knobs)
    network = FAMILIES[name].build(knobs, (3, side, side), 7)
    return {key: tensor.shape for key, tensor in network.state_dict().items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_builds_trains_and_maps_images_to_classes(name: str) -> None:
    for candidate in _candidates(name):
        side = FAMILIES[name].resolution(candidate.knobs)
        network = FAMILIES[name].build(candidate.knobs, (3, side, side), 7)
        output = network(torch.randn(2, 3, side, side))
        assert output.shape == (2, 7)
        output.square().sum().backward()
        assert all(p.grad is not None for p in network.parameters()), candidate


@pytest.mark.parametrize("name", FAMILIES)
def test_same_knobs_give_the_same_shapes(name: str) -> None:
    candidate = _space(name).draw(3)
    assert _shapes(name, candidate.knobs) == _shapes(name, candidate.knobs)


@pytest.mark.parametrize("name", FAMILIES)
def test_baseline_builds_and_is_no_smaller_than_the_smallest(name: str) -> None:
    space = _space(name)
    size = [sum(s.numel() for s in _shapes(name, c.knobs).values()) for c in (space.baseline, *space.smallest())]
    assert size[0] > max(size[1:])
    assert len(FAMILIES[name].source) > 10
