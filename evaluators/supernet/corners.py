"""The extreme networks of a family's space: between them lie the shapes of all others."""

import itertools
from collections.abc import Iterator

import torch

from paredown.spaces.candidate import Candidate
from paredown.spaces.families.family import Family
from paredown.spaces.knob import Choice, Knob, Value
from paredown.spaces.space import SearchSpace

Shapes = dict[str, tuple[int, ...]]


def corners(space: SearchSpace) -> list[Candidate]:
    """Return candidates of a space of one family among which each shared tensor has its largest sizes.

    They are all knobs at one end with at most one of them moved, for each value of the knobs on which others
    depend, and the baseline, which may lie outside. That is enough where sizes grow with each knob, or with none.
    """
    return list({c.digest: c for c in (space.baseline, *_ends(space))}.values())


def _ends(space: SearchSpace) -> Iterator[Candidate]:
    parents = {f"{n.partition('.')[0]}.{k.only_if[0]}" for n, k in space.knobs.items() if k.only_if}
    deciding = {name: _extremes(space.knobs[name]) for name in sorted(parents)}
    for end in ("highest", "lowest"):
        for chosen in itertools.product(*deciding.values()):
            values = {n: getattr(k, end) for n, k in space.knobs.items()} | dict(zip(deciding, chosen, strict=True))
            yield space.candidate(values)
            for name, knob in space.knobs.items():
                yield from (space.candidate(values | {name: value}) for value in _extremes(knob))


def _extremes(knob: Knob) -> tuple[Value, ...]:
    return knob.values if isinstance(knob, Choice) else (knob.lowest, knob.highest)


def shared_shapes(family: Family, candidate: Candidate, channels: int, classes: int) -> Shapes:
    """Return the shape of each parameter of a candidate under its name in the supernet."""
    assert family.shared_names is not None, "asked only of families that share weights"
    side = family.resolution(candidate.knobs)
    with torch.device("meta"):
        network = family.build(candidate.knobs, (channels, side, side), classes)
    names = family.shared_names(candidate.knobs)
    return {names[name]: tuple(parameter.shape) for name, parameter in network.named_parameters()}
