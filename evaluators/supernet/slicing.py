"""Slices the parameters of candidates from shared tensors."""

from collections.abc import Mapping, Sequence

from torch import Tensor

SPATIAL = 2
"""First spatial dimension of the weights of a convolution."""
CONVOLUTION_DIMENSIONS = 4


def sliced(shared: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a view of a given shape on a shared tensor.

    The view takes the leading output and input channels and the centre of the kernel; in tensors of fewer than four
    dimensions, it takes the leading part of each dimension.

    Args:
        shared: Shared tensor: `out x in x h x w` for a convolution, or any other shape.
        shape: Shape of the view, at most that of the shared tensor in each dimension.

    Raises:
        ValueError: The shape does not fit into the shared tensor.

    Source:
        Yu et al., Slimmable Neural Networks, ICLR 2019, section 3 (leading channels); Cai et al., Once-for-All,
        ICLR 2020, section 3.3 (centre of the kernel).
    """
    if len(shape) != shared.dim() or any(want > have for want, have in zip(shape, shared.shape, strict=True)):
        raise ValueError(f"{tuple(shape)} is no part of {tuple(shared.shape)}")
    is_convolution = shared.dim() >= CONVOLUTION_DIMENSIONS
    for dimension, (want, have) in enumerate(zip(shape, shared.shape, strict=True)):
        start = (have - want) // 2 if is_convolution and dimension >= SPATIAL else 0
        shared = shared.narrow(dimension, start, want)
    return shared


def largest_shapes(shapes: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, tuple[int, ...]]:
    """Return for each name the element-wise largest of its shapes.

    Raises:
        ValueError: A name has shapes of different numbers of dimensions.
    """
    largest: dict[str, tuple[int, ...]] = {}
    for each in shapes:
        for name, shape in each.items():
            before = largest.get(name, tuple(shape))
            if len(before) != len(shape):
                raise ValueError(f"{name}: {tuple(shape)} and {before} cannot share one tensor")
            largest[name] = tuple(max(pair) for pair in zip(before, shape, strict=True))
    return largest
