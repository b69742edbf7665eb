"""What an architecture family is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from paredown.spaces.knob import Knob, Knobs, Range, Value

ImageShape = tuple[int, int, int]
"""Channels, height, width of one input."""


@dataclass(frozen=True)
class Family:
    """An architecture family: its knobs and its builder.

    Attributes:
        name: Prefix of its knobs.
        knobs: From the resolutions a task allows to the family's knobs, without prefix.
        baseline: Knobs of the reference network; those not named take their highest value.
        resolution: From the knobs to the side of the square input, in pixels.
        build: From knobs, shape of one input and number of classes to an untrained network that maps
            `n x c x h x w` to `n x classes` logits.
        source: Paper and section.
        shared_names: From knobs to the name that each of the network's parameters has in a supernet, by its name in
            the network: parameters of two networks that have one name there are slices of one tensor. None where
            networks of the family share no weights.
    """

    name: str
    knobs: Callable[[Range], Mapping[str, Knob]]
    baseline: Mapping[str, Value]
    resolution: Callable[[Knobs], int]
    build: Callable[[Knobs, ImageShape, int], nn.Module]
    source: str
    shared_names: Callable[[Knobs], Mapping[str, str]] | None = None
