"""A choice among the shortlist is the choice among all."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.measurement import Measurement, Objective
from paredown.spaces.candidate import Candidate
from paredown.studies.choice import choose
from paredown.studies.errors import NothingFits
from paredown.studies.front import Model
from paredown.studies.shortlist import Shortlist

ACCURACY, SIZE, LATENCY = (EVALUATORS[name].metric for name in ("accuracy", "size_bytes", "latency_ms"))
OBJECTIVES = [Objective(ACCURACY), Objective(SIZE)]


def models(draw: random.Random, count: int) -> list[Model]:
    """Draw models of few different values, so that many are equal; some lack the latency, some are infeasible."""
    drawn = []
    for number in range(count):
        values = {"accuracy": draw.randrange(8) / 8, "size_bytes": float(draw.randrange(1, 8) * 100)}
        values |= {"latency_ms": draw.randrange(1, 8) / 10} if draw.random() < 0.8 else {}
        measured = {name: Measurement(name, value, 0.0) for name, value in values.items()}
        drawn.append(Model(number, Candidate("mbconv", {"n": number}), measured, "", draw.random() < 0.8))
    return drawn


@pytest.mark.parametrize("seed", range(300))
def test_a_choice_among_the_shortlist_is_that_among_all(seed: int) -> None:
    draw = random.Random(seed)
    given = models(draw, draw.choice([0, 1, 2, 5, 60]))
    limits = [
        limit
        for limit in (
            Objective(SIZE, False, float(draw.randrange(1, 9) * 100)),
            Objective(LATENCY, False, draw.randrange(9) / 10),
            Objective(ACCURACY, False, draw.randrange(9) / 8),
        )
        if draw.random() < 0.5
    ]
    objectives = [*OBJECTIVES, Objective(LATENCY, False, 0.5)] if draw.random() < 0.2 else OBJECTIVES
    short = Shortlist(given).among(objectives, limits)
    assert chosen(short, objectives, limits) == chosen(given, objectives, limits)


def chosen(given: Sequence[Model], objectives: list[Objective], limits: list[Objective]) -> Any:
    try:
        found = choose(given, objectives, limits)
    except NothingFits as error:
        return str(error)
    return found.model, found.next_best, found.binding


def test_a_shortlist_is_short() -> None:
    given = models(random.Random(0), 2000)
    assert len(Shortlist(given).among(OBJECTIVES, [Objective(LATENCY, False, 0.3)])) <= 3
    assert len(Shortlist(given).among(OBJECTIVES, [])) == 2
