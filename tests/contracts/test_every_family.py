"""What every architecture family must do."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from paredown.evaluators.files.onnx_model import export, slimmed
from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.evaluators.supernet.corners import Corners, shared_shapes
from paredown.evaluators.supernet.slicing import largest_shapes, sliced
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.compression.step import TransformContext
from paredown.spaces.conditions import active
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.families.catalogue import FAMILIES, PUBLISHED, variant
from paredown.spaces.families.imported import imported
from paredown.spaces.knob import Knobs, Range
from paredown.spaces.space import SearchSpace, joint_space

RESOLUTIONS = Range(8, 16, 4)
NAMED = FAMILIES | {"imported": imported("my_model:digits_net", Path(__file__).parents[2] / "examples")}
"""The catalogue, with a network of a user's."""
TRANSFORMS = [name for name, step in STEPS.items() if step.transform]
VARIANTS = [(name, variant) for name, family in FAMILIES.items() for variant in family.variants]


def _space(name: str) -> SearchSpace:
    return joint_space({name: NAMED[name]}, {}, RESOLUTIONS, {}, {})


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
def test_the_extreme_corners_build(name: str) -> None:
    space = _space(name)
    with torch.device("meta"):  # shapes without the arithmetic: the largest corner is a thousand times the baseline
        for end in ("lowest", "highest"):
            for candidate in _corners(space, end):
                side = FAMILIES[name].resolution(candidate.knobs)
                assert side >= 1
                network = FAMILIES[name].build(candidate.knobs, (1, side, side), 5)
                assert network(torch.empty(2, 1, side, side)).shape == (2, 5)


def _corners(space: SearchSpace, end: str) -> list[Candidate]:
    """Every knob at one end, once for each value of a knob on which others depend."""
    values = {n: getattr(knob, end) for n, knob in space.knobs.items()}
    conditions = [(f"{n.partition('.')[0]}.{k.only_if[0]}", k.only_if[1]) for n, k in space.knobs.items() if k.only_if]
    deciding = {(n, v) for n, wanted in conditions for v in (wanted if isinstance(wanted, tuple) else (wanted,))}
    return [space.candidate(values | {knob: value}) for knob, value in sorted(deciding)] or [space.candidate(values)]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_candidate_read_back_builds_the_same_network_and_weights(name: str) -> None:
    candidate = _space(name).draw(3)
    read = Candidate.from_json(json.loads(json.dumps(candidate.to_json())))
    side = FAMILIES[name].resolution(candidate.knobs)
    states = []
    for knobs in (candidate.knobs, read.knobs):
        torch.manual_seed(0)
        states.append(FAMILIES[name].build(knobs, (3, side, side), 7).state_dict())
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(tensor, states[1][key]) for key, tensor in states[0].items())


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_layer_of_its_own_has_a_name(name: str) -> None:
    """Numbers are for stages and blocks; what a block or the network itself consists of has a name."""
    for candidate in _candidates(name):
        side = FAMILIES[name].resolution(candidate.knobs)
        with torch.device("meta"):
            network = FAMILIES[name].build(candidate.knobs, (3, side, side), 7)
        leaves = [layer for layer, module in network.named_modules() if not any(module.children())]
        assert not [layer for layer in leaves if layer.rpartition(".")[2].isdecimal()]


@pytest.mark.parametrize("name", FAMILIES)
def test_baseline_builds_and_is_no_smaller_than_the_smallest(name: str) -> None:
    space = _space(name)
    size = [sum(s.numel() for s in _shapes(name, c.knobs).values()) for c in (space.baseline, *space.smallest())]
    if name != "imported":  # its size is the user's
        assert size[0] > max(size[1:])
    assert space.baseline.steps == {}
    for knob, value in space.baseline.knobs.items():
        assert value in space.knobs[f"{name}.{knob}"], knob
    assert len(FAMILIES[name].source) > 10


@pytest.mark.parametrize("name", [n for n, family in FAMILIES.items() if family.shared_names])
def test_every_candidate_is_a_slice_of_the_supernet(name: str) -> None:
    family, space = FAMILIES[name], _space(name)
    assert family.shared_names is not None
    largest = largest_shapes(list(Corners(space, 3, 7).shapes.values()))
    for candidate in (*_candidates(name), *(space.draw(seed) for seed in range(100, 120))):
        with torch.device("meta"):
            side = family.resolution(candidate.knobs)
            network = family.build(candidate.knobs, (3, side, side), 7)
        shapes = shared_shapes(family, candidate, 3, 7)
        assert len(shapes) == len(list(network.parameters())), "two parameters of one network would be one"
        for shared, shape in shapes.items():
            sliced(torch.empty(largest[shared], device="meta"), shape)


@pytest.mark.parametrize("name", FAMILIES)
def test_resolutions_are_those_that_the_task_allows(name: str) -> None:
    sides = {FAMILIES[name].resolution(c.knobs) for c in (_space(name).baseline, *_candidates(name))}
    assert all(side in RESOLUTIONS for side in sides), sides


@pytest.mark.parametrize("resolutions", [Range(4, 8, 4), Range(8, 60, 4), Range(8, 224, 4)], ids=str)
@pytest.mark.parametrize("name", FAMILIES)
def test_at_any_resolution_it_builds_or_says_why_not(name: str, resolutions: Range) -> None:
    family, refusals, built = NAMED[name], [], 0
    space = joint_space({name: family}, {}, resolutions, {}, {})
    for candidate in (space.baseline, *(space.draw(seed) for seed in range(6))):
        side = family.resolution(candidate.knobs)
        assert side in resolutions
        with torch.device("meta"):
            try:
                network = family.build(candidate.knobs, (3, side, side), 7)
            except InfeasibleCandidate as refusal:
                refusals.append((side, str(refusal)))
            else:
                assert network(torch.empty(2, 3, side, side)).shape == (2, 7)
                built += 1
    for side, said in refusals:
        assert said.startswith(f"{name}: images of {side} ")
        assert "allowed: " in said
    assert built or resolutions.high < 16


@pytest.mark.parametrize("step", TRANSFORMS)
@pytest.mark.parametrize("name", FAMILIES)
def test_it_is_compressed_and_exported_with_equal_outputs(name: str, step: str) -> None:
    transform, switch = STEPS[step].transform, STEPS[step].knobs[STEPS[step].switch]
    assert transform is not None
    on = switch.nearest(0.5) if isinstance(switch, Range) else switch.next_to(STEPS[step].off)
    others = {knob: of.lowest for knob, of in STEPS[step].knobs.items()}
    knobs = active(STEPS[step].knobs, others | {STEPS[step].switch: on})
    for candidate in _space(name).smallest()[:4]:
        side = FAMILIES[name].resolution(candidate.knobs)
        network = FAMILIES[name].build(candidate.knobs, (1, side, side), 5).eval()
        images = torch.randn(3, 1, side, side)
        try:
            changed = transform(network, knobs, TransformContext(images[:1]))
        except InfeasibleCandidate:
            continue
        before, after = (sum(p.numel() for p in n.parameters()) for n in (network, changed))
        assert after <= before
        expected = changed(images).detach().numpy()
        assert expected.shape == (3, 5)
        actual = logits(open_session(slimmed(export(changed, (1, side, side)))), images.numpy())
        np.testing.assert_allclose(actual, expected, atol=1e-4)


@pytest.mark.parametrize(("name", "named"), VARIANTS)
def test_a_variant_is_a_point_of_the_space_at_its_resolution(name: str, named: str) -> None:
    family, knobs = variant(named)
    assert family.name == name
    side = family.resolution(knobs)
    allowed = family.knobs(Range(8, side, 4))
    for knob, value in knobs.items():
        assert value in allowed[knob], knob
    active = {n for n, k in allowed.items() if k.only_if is None or knobs[k.only_if[0]] == k.only_if[1]}
    assert set(knobs) == active
