"""Inputs whose sides differ, down to a single row."""

import numpy as np
import pytest
import torch

from paredown.evaluators.files.onnx_model import export
from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.families.catalogue import PUBLISHED
from paredown.spaces.families.family import ImageShape
from paredown.spaces.knob import Range
from paredown.spaces.space import joint_space

SHAPES: list[ImageShape] = [(1, 1, 128), (1, 128, 1), (6, 6, 128), (1, 40, 101), (3, 32, 96), (4, 16, 16)]
RESOLUTIONS = {128: Range(8, 128, 4), 101: Range(9, 101, 4), 96: Range(8, 96, 4), 16: Range(8, 16, 4)}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", [name for name in PUBLISHED if name != "vit"])
def test_the_baseline_takes_the_whole_input(name: str, shape: ImageShape) -> None:
    family, side = PUBLISHED[name], max(shape[1:])
    knobs = joint_space({name: family}, {}, RESOLUTIONS[side], {}, {}).baseline.knobs
    if name != "efficientnet":  # its reference is smaller than what it may grow to
        assert family.resolution(knobs) == side
    torch.manual_seed(0)
    network, images = family.build(knobs, shape, 3), torch.randn(2, *shape)
    with torch.no_grad():
        usual = network(images)  # in training, since untrained statistics let little through
        for end in (0, -1):  # both ends count: no side is cut off
            changed = images.clone()
            changed[:1, :, end, end] += 10
            assert not torch.allclose(network(changed), usual)
        expected = network.eval()(images)
    actual = logits(open_session(export(network, shape)), images.numpy())
    assert np.allclose(actual, expected.numpy(), atol=1e-3)


def test_what_is_too_small_on_both_sides_is_refused() -> None:
    family = PUBLISHED["resnet"]
    knobs = joint_space({"resnet": family}, {}, Range(8, 16, 4), {}, {}).baseline.knobs
    with pytest.raises(InfeasibleCandidate, match="resnet: images of 3 px are too small"):
        family.build(knobs, (1, 1, 3), 2)
    family.build(knobs, (1, 1, 4), 2)


def test_patches_need_two_rows() -> None:
    family = PUBLISHED["vit"]
    knobs = joint_space({"vit": family}, {}, Range(8, 128, 4), {}, {}).baseline.knobs
    with pytest.raises(InfeasibleCandidate, match="images of 1 x 128 px make 1 x "):
        family.build(knobs, (1, 1, 128), 2)
