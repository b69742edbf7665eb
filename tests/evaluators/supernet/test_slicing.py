"""Slices of shared tensors, by hand."""

import pytest
import torch

from paredown.evaluators.supernet.slicing import largest_shapes, sliced


def test_a_convolution_takes_leading_channels_and_the_centre_of_the_kernel() -> None:
    shared = torch.arange(2 * 3 * 5 * 5).reshape(2, 3, 5, 5)
    part = sliced(shared, (1, 2, 3, 3))
    assert part.tolist() == [
        [[[6, 7, 8], [11, 12, 13], [16, 17, 18]], [[31, 32, 33], [36, 37, 38], [41, 42, 43]]],
    ]


def test_other_tensors_take_the_leading_part_of_each_dimension() -> None:
    assert sliced(torch.arange(4), (2,)).tolist() == [0, 1]
    assert sliced(torch.arange(12).reshape(3, 4), (2, 2)).tolist() == [[0, 1], [4, 5]]
    assert sliced(torch.arange(12).reshape(1, 3, 4), (1, 2, 1)).tolist() == [[[0], [4]]]


def test_a_slice_is_a_view() -> None:
    shared = torch.zeros(2, 2)
    sliced(shared, (1, 1)).fill_(7)
    assert shared.tolist() == [[7, 0], [0, 0]]


@pytest.mark.parametrize("shape", [(3, 1), (1, 3), (2,), (1, 1, 1)])
def test_a_shape_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="is no part of"):
        sliced(torch.zeros(2, 2), shape)


def test_the_largest_shape_is_taken_in_each_dimension() -> None:
    assert largest_shapes([{"a": (2, 5), "b": (1,)}, {"a": (4, 3)}]) == {"a": (4, 5), "b": (1,)}
    with pytest.raises(ValueError, match=r"a: .* cannot share"):
        largest_shapes([{"a": (2, 5)}, {"a": (4,)}])
