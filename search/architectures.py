"""What each family can build for a task: its knobs, how many networks, from how few MACs to how many."""

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from paredown.evaluators.catalogue import EVALUATORS
from paredown.evaluators.specimen import Specimen
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.families.family import Family
from paredown.spaces.knob import Choice, Knob, Knobs, Range, Value
from paredown.spaces.space import SearchSpace, joint_space

UNCOUNTED = (
    nn.BatchNorm2d,
    nn.LayerNorm,
    nn.ReLU,
    nn.ReLU6,
    nn.SiLU,
    nn.Hardswish,
    nn.GELU,
    nn.Sigmoid,
    nn.Hardsigmoid,
)
"""Layers without MACs whose output has the shape of their input."""
RANDOM = (Tensor.uniform_, Tensor.normal_)
"""What fills weights at first."""


@dataclass(frozen=True)
class Size:
    """What a network comes to.

    Attributes:
        resolution: Side of its input, in pixels.
        macs: Multiply-accumulates of one image.
        params: Its parameters.
    """

    resolution: int
    macs: int
    params: int


@dataclass(frozen=True)
class FamilyRange:
    """A family on a task.

    Attributes:
        family: Which.
        knobs: Knob to its allowed values, in words.
        networks: Combinations of active knobs.
        baseline: The reference network.
        least: Of the space's corners, the one of fewest MACs.
        most: Of the space's corners, the one of most MACs.
    """

    family: Family
    knobs: Mapping[str, str]
    networks: int
    baseline: Size
    least: Size
    most: Size


def size(family: Family, knobs: Knobs, channels: int, classes: int, resolution: int | None = None) -> Size:
    """Return MACs and parameters of a network; shapes alone are computed, so B7 takes no memory.

    Args:
        family: What to build.
        knobs: Its active knobs.
        channels: Of the input.
        classes: Of the output.
        resolution: In pixels; None for that of the knobs.

    Raises:
        InfeasibleCandidate: The knobs cannot be built at that resolution.
    """
    side = resolution or family.resolution(knobs)
    shape = (channels, side, side)
    with torch.device("meta"), _Unfilled():
        network = family.build(knobs, shape, classes)
    params = int(EVALUATORS["params"].evaluate(Specimen(network, shape)).value)
    _bypass_uncounted(network)
    macs = int(EVALUATORS["macs"].evaluate(Specimen(network, shape)).value)
    return Size(side, macs, params)


class _Unfilled(TorchFunctionMode):
    """Leaves out random first values: a tensor without memory has none, but takes as long to be told so."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return args[0] if func in RANDOM else func(*args, **(kwargs or {}))


def _bypass_uncounted(network: nn.Module) -> None:
    """Put identities in place of layers that keep the shape and have no MACs: on meta tensors they take the time."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, UNCOUNTED):
                setattr(module, name, nn.Identity())


def family_range(family: Family, channels: int, classes: int, resolutions: Range) -> FamilyRange:
    """Return what a family can build on a task.

    Looked at are the baseline and the corners of the space, where every knob is at one end; a corner that cannot be
    built is passed over.

    Args:
        family: Which.
        channels: Of the task's images.
        classes: How many the task has.
        resolutions: Sides that the task allows, in pixels.
    """
    space = joint_space({family.name: family}, {}, resolutions, {}, {})
    reference = size(family, space.baseline.knobs, channels, classes)
    found = [reference]
    for values in (*corners(space, largest=False), *corners(space, largest=True)):
        with contextlib.suppress(InfeasibleCandidate):
            found.append(size(family, space.candidate(values).knobs, channels, classes))
    knobs = {name.partition(".")[2]: knob for name, knob in space.knobs.items()}
    words = {name: str(knob) for name, knob in knobs.items()}
    least, most = (best(found, key=lambda size: size.macs) for best in (min, max))
    return FamilyRange(family, words, networks(knobs), reference, least, most)


def corners(space: SearchSpace, *, largest: bool) -> Iterator[dict[str, Value]]:
    """Yield values of all knobs at one end, once for each value of those that decide whether others count."""
    values = {name: knob.highest if largest else knob.lowest for name, knob in space.knobs.items()}
    deciding = {f"{n.partition('.')[0]}.{k.only_if[0]}" for n, k in space.knobs.items() if k.only_if}
    choices = [[(name, value) for value in _values(space.knobs[name])] for name in sorted(deciding)]
    for combination in itertools.product(*choices):
        yield values | dict(combination)


def networks(knobs: Mapping[str, Knob]) -> int:
    """Return how many combinations of active knobs there are."""
    deciding = sorted({knob.only_if[0] for knob in knobs.values() if knob.only_if})
    total = 0
    for values in itertools.product(*(_values(knobs[name]) for name in deciding)):
        chosen = dict(zip(deciding, values, strict=True))
        active = (k for n, k in knobs.items() if not k.only_if or chosen[k.only_if[0]] == k.only_if[1])
        total += math.prod(k.count for k in active) // math.prod(knobs[name].count for name in deciding)
    return total


def _values(knob: Knob) -> tuple[Value, ...]:
    return knob.values if isinstance(knob, Choice) else (knob.lowest,)
