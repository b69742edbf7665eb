"""What each family can build for a task: its knobs, the number of its networks, and their range of MACs."""

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.evaluation_input import EvaluationInput
from paredown.spaces.candidate import Candidate
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
RANDOM_FILLS = (Tensor.uniform_, Tensor.normal_)
"""Functions that fill weights with random values."""


@dataclass(frozen=True)
class Size:
    """The size of a network.

    Attributes:
        resolution: Side of its input, in pixels.
        macs: Number of multiply-accumulate operations for one image.
        params: Number of parameters.
    """

    resolution: int
    macs: int
    params: int


@dataclass(frozen=True)
class FamilyRange:
    """What a family can build for a task.

    Attributes:
        family: The family.
        knobs: Knobs by name, without the family's prefix.
        networks: Number of combinations of active knobs.
        baseline: Size of the reference network; None where it cannot be built.
        least: Size with the fewest MACs among the networks that `family_range` builds; None where none can be built.
        most: Size with the most MACs among them; None where none can be built.
        refusal: Why the baseline cannot be built; empty where it can.
    """

    family: Family
    knobs: Mapping[str, Knob]
    networks: int
    baseline: Size | None
    least: Size | None
    most: Size | None
    refusal: str = ""


def size(family: Family, knobs: Knobs, channels: int, classes: int, resolution: int | None = None) -> Size:
    """Return MACs and parameters of a network; only shapes are computed, so that EfficientNet-B7 takes no memory.

    Args:
        family: Family of the network.
        knobs: Active knobs of the network.
        channels: Number of channels of the input.
        classes: Number of classes.
        resolution: Side of the input, in pixels; None for the one that the knobs give.

    Raises:
        InfeasibleCandidate: The knobs cannot be built at that resolution.
    """
    side = resolution or family.resolution(knobs)
    shape = (channels, side, side)
    with torch.device("meta"), _Unfilled():
        network = family.build(knobs, shape, classes)
    params = int(EVALUATORS["params"].evaluate(EvaluationInput(network, shape)).value)
    _bypass_uncounted(network)
    macs = int(EVALUATORS["macs"].evaluate(EvaluationInput(network, shape)).value)
    return Size(side, macs, params)


class _Unfilled(TorchFunctionMode):
    """Skips random initialization: a meta tensor holds no values, but the call would take as long."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return args[0] if func in RANDOM_FILLS else func(*args, **(kwargs or {}))


def _bypass_uncounted(network: nn.Module) -> None:
    """Replace layers that keep the shape and have no MACs by identities: on meta tensors they take most of the time."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, UNCOUNTED):
                setattr(module, name, nn.Identity())


def family_range(family: Family, channels: int, classes: int, resolutions: Range) -> FamilyRange:
    """Return what a family can build for a task, measured on the baseline and on the extremes of the space.

    Args:
        family: The family.
        channels: Number of channels of the images.
        classes: Number of classes of the task.
        resolutions: Sides that the task allows, in pixels.
    """
    space = joint_space({family.name: family}, {}, resolutions, {}, {})
    reference, refusal = None, ""
    try:
        reference = size(family, space.baseline.knobs, channels, classes)
    except InfeasibleCandidate as error:
        refusal = str(error).removeprefix(f"{family.name}: ")
    found = [*Extremes(space, channels, classes, resolutions).sizes, *([reference] if reference else [])]
    least, most = (best(found, key=lambda size: size.macs, default=None) for best in (min, max))
    knobs = {name.partition(".")[2]: knob for name, knob in space.knobs.items()}
    return FamilyRange(family, knobs, networks(knobs), reference, least, most, refusal)


class Extremes:
    """Finds the networks with the fewest and the most MACs in a space of one family.

    The MACs rise with every range, but not always along a choice: which stem is cheaper depends on the images. The
    search therefore tries each value of each choice on the smallest network, at the lowest resolution and at the
    highest, and combines the cheapest values with the lower ends of the ranges, the costliest with the upper ends. It
    also tries the corners, where every knob is at one end. It repeats all that for each value of the knobs on which
    others depend. Where a network cannot be built at a resolution, the next resolution takes its place. Where the
    costliest network does not have the largest resolution, a lower coefficient of compound scaling may give a larger
    one, so that the ranges are tried there too.

    Args:
        space: Space of one family.
        channels: Number of channels of the images.
        classes: Number of classes of the task.
        resolutions: Sides that the task allows, in pixels.

    Attributes:
        sizes: Sizes of the extremes that can be built.
    """

    def __init__(self, space: SearchSpace, channels: int, classes: int, resolutions: Range) -> None:
        (self._family,) = space.families.values()
        self._space, self._channels, self._classes = space, channels, classes
        self._known: dict[Candidate, Size] = {}
        for chosen in self._deciding():
            low, high = ({n: getattr(k, end) for n, k in space.knobs.items()} | chosen for end in ("lowest", "highest"))
            for end, largest in ((low, False), (high, True)):
                self._size(end, largest=largest)
                extreme = end | self._choices(low, set(chosen), largest=largest)
                found = self._size(extreme, largest=largest)
                if largest and found and found.resolution < resolutions.high:
                    self._lower_ranges(extreme, found)
        self.sizes = tuple(self._known.values())

    def _deciding(self) -> Iterator[dict[str, Value]]:
        knobs = self._space.knobs
        names = sorted({f"{n.partition('.')[0]}.{k.only_if[0]}" for n, k in knobs.items() if k.only_if})
        for values in itertools.product(*(_values(knobs[name]) for name in names)):
            yield dict(zip(names, values, strict=True))

    def _choices(self, low: dict[str, Value], fixed: set[str], *, largest: bool) -> dict[str, Value]:
        """Return the value of each choice with the fewest or the most MACs; other knobs but the resolution are low."""
        found: dict[str, Value] = {}
        for name, knob in self._space.knobs.items():
            if isinstance(knob, Choice) and not knob.is_fixed and name not in fixed:
                tried = {value: self._size(low | {name: value}, largest=largest) for value in knob.values}
                macs = {value: size.macs for value, size in tried.items() if size}
                if macs and largest:
                    found[name] = max(reversed(macs), key=lambda value: macs[value])
                elif macs:
                    found[name] = min(macs, key=lambda value: macs[value])
        return found

    def _lower_ranges(self, values: dict[str, Value], most: Size) -> None:
        """Lower each range as long as that raises the MACs."""
        for name, knob in self._space.knobs.items():
            for value in () if isinstance(knob, Choice) else reversed(knob.values[:-1]):
                tried = self._size(values | {name: value}, largest=True)
                if tried is None or tried.macs <= most.macs:
                    break
                values, most = values | {name: value}, tried

    def _size(self, values: dict[str, Value], *, largest: bool) -> Size | None:
        """Return the size at the lowest or highest resolution at which the network can be built; None without one."""
        name = f"{self._family.name}.resolution"
        sides = self._space.knobs[name].values
        for side in reversed(sides) if largest else sides:
            candidate = self._space.candidate(values | {name: side})
            if candidate in self._known:
                return self._known[candidate]
            with contextlib.suppress(InfeasibleCandidate):
                self._known[candidate] = size(self._family, candidate.knobs, self._channels, self._classes)
                return self._known[candidate]
            if "resolution" not in candidate.knobs:
                return None  # it follows from other knobs
        return None


def networks(knobs: Mapping[str, Knob]) -> int:
    """Return the number of combinations of active knobs."""
    deciding = sorted({knob.only_if[0] for knob in knobs.values() if knob.only_if})
    total = 0
    for values in itertools.product(*(_values(knobs[name]) for name in deciding)):
        chosen = dict(zip(deciding, values, strict=True))
        active = (k for n, k in knobs.items() if not k.only_if or chosen[k.only_if[0]] == k.only_if[1])
        total += math.prod(k.count for k in active) // math.prod(knobs[name].count for name in deciding)
    return total


def _values(knob: Knob) -> tuple[Value, ...]:
    return knob.values if isinstance(knob, Choice) else (knob.lowest,)
