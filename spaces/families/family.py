"""What an architecture family is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.knob import Knob, Knobs, Range, Value

ImageShape = tuple[int, int, int]
"""Channels, height, width of one input."""


@dataclass(frozen=True)
class Family:
    """An architecture family: its knobs and its builder.

    Attributes:
        name: Prefix of its knobs.
        knobs: Maps the resolutions that a task allows to the family's knobs, without prefix.
        baseline: Maps the resolutions that a task allows to knobs of the reference network; knobs that it leaves out
            take their highest value.
        resolution: Maps the knobs to the longer side of the input, in pixels.
        build: Builds an untrained network, which maps `n x c x h x w` to `n x classes` logits, from the knobs, the
            shape of one input and the number of classes. It raises InfeasibleCandidate, with the reason, where the
            knobs and the input do not fit.
        source: Paper and section.
        variants: The active knobs of each named network of the literature.
        shared_names: Maps the knobs and the name of a parameter in the network to its name in a supernet: parameters
            of two networks that have one name there are slices of one tensor. None where networks of the family share
            no weights.
        covering: Maps the knobs to those of a network whose parameters contain the network's own in a supernet, and
            grow with every knob. None where each network's own do.

    A module of the network may name, in an attribute `kept`, layers of its own whose outputs no step may remove; and
    in `earlier_names`, as `paredown.spaces.earlier_names` describes, what its layers were called before.
    """

    name: str
    knobs: Callable[[Range], Mapping[str, Knob]]
    baseline: Callable[[Range], Mapping[str, Value]]
    resolution: Callable[[Knobs], int]
    build: Callable[[Knobs, ImageShape, int], nn.Module]
    source: str
    variants: Mapping[str, Knobs] = field(default_factory=dict)
    shared_names: Callable[[Knobs, str], str] | None = None
    covering: Callable[[Knobs], Knobs] | None = None


def longer_side(shape: ImageShape) -> int:
    """Return the longer side of an input, in pixels: its resolution."""
    return max(shape[1:])


def check_side(family: str, shape: ImageShape, least: int, instead: str = "") -> None:
    """Refuse images that are too small for the strides of a network.

    Args:
        family: Name of the family, for the message.
        shape: Shape of one input.
        least: Product of all strides.
        instead: What else is allowed: a knob, its value and the smallest side that goes with it.

    Raises:
        InfeasibleCandidate: The longer side is smaller than the product. A shorter one may come down to 1, where
            strides act no more.
    """
    side = longer_side(shape)
    if side < least:
        raise InfeasibleCandidate(
            f"{family}: images of {side} px are too small for its strides, {least} in all; allowed: from {least} px"
            + (f", or {family}.{instead}" if instead else "")
        )
