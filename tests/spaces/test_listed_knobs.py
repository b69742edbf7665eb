"""A list of numbers in a study file narrows a numeric knob to exactly these numbers."""

import random
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.knobs import distributions
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.errors import SpaceError
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.knob import Choice, Levels, Range
from paredown.spaces.space import SearchSpace, joint_space

RANGES = (Range(0.5, 3.0, 0.05), Range(0, 20, 1), Range(8, 64, 4), Range(0.5, 0.975, 0.025))


def space(**knobs: Any) -> SearchSpace:
    overrides = {name.replace("__", "."): spec for name, spec in knobs.items()}
    mbconv, steps = {"mbconv": FAMILIES["mbconv"]}, {"early_exit": STEPS["early_exit"]}
    return joint_space(mbconv, steps, Range(8, 32, 4), overrides, {})


@st.composite
def listed(draw: st.DrawFn) -> tuple[Range, list[int | float]]:
    """A range and a list of its numbers in any order, some of them twice."""
    knob = draw(st.sampled_from(RANGES))
    return knob, draw(st.lists(st.sampled_from(knob.values), min_size=1, max_size=8))


@given(listed())
def test_it_holds_these_numbers_and_no_other(drawn: tuple[Range, list[int | float]]) -> None:
    knob, numbers = drawn
    narrow = knob.narrowed(numbers)
    assert narrow.values == tuple(sorted(set(numbers)))
    assert [value for value in knob.values if value in narrow] == sorted(set(numbers))
    assert {type(value) for value in narrow.values} == {type(knob.lowest)}
    assert (narrow.lowest, narrow.highest, narrow.count) == (min(numbers), max(numbers), len(set(numbers)))
    gaps = np.diff(sorted(set(numbers)))
    assert isinstance(narrow, Range) == np.allclose(gaps, gaps[:1])


@given(listed(), st.floats(-5, 70))
def test_the_nearest_number_is_the_nearest(drawn: tuple[Range, list[int | float]], wanted: float) -> None:
    knob, numbers = drawn
    nearest = knob.narrowed(numbers).nearest(wanted)
    assert isinstance(nearest, int | float)
    assert abs(nearest - wanted) == pytest.approx(min(abs(number - wanted) for number in numbers))


@given(listed(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_samplers_are_asked_for_these_numbers(drawn: tuple[Range, list[int | float]], dice: random.Random) -> None:
    knob, numbers = drawn
    narrow = knob.narrowed(numbers)
    trial = optuna.trial.FixedTrial({"knob": dice.choice(numbers)})
    assert narrow.suggest(trial, "knob") in numbers  # type: ignore[arg-type]  # a trial is wider than what is needed
    domain = KnobDomain(dict(trial.distributions))
    if len(set(numbers)) > 1:
        assert domain.levels("knob") == sorted(set(numbers))


def test_evenly_spaced_numbers_keep_their_order_for_samplers() -> None:
    asked = distributions(space(mbconv__width=[0.75, 0.5], mbconv__depth=[1.0, 1.5, 3.0], early_exit__exits=[2, 0]))
    assert asked["mbconv.width"] == FloatDistribution(0.5, 0.75, step=0.25)
    assert asked["mbconv.depth"] == CategoricalDistribution((1.0, 1.5, 3.0))
    assert asked["early_exit.exits"] == IntDistribution(0, 2, step=2)


@given(st.lists(st.sampled_from(Range(0.5, 3.0, 0.25).values), min_size=1, max_size=5), st.integers(0, 50))
def test_every_candidate_of_a_space_has_a_listed_number(widths: list[float], seed: int) -> None:
    narrow = space(mbconv__scaling="free", mbconv__width=widths)
    for candidate in (narrow.draw(seed), narrow.mildest(), *narrow.smallest()):
        assert candidate.knobs["width"] in widths
        assert narrow.candidate(narrow.values(candidate)) == candidate
    assert all(candidate.knobs["width"] == min(widths) for candidate in narrow.smallest())
    assert narrow.baseline.knobs["width"] in widths


def test_conditions_read_a_listed_sibling() -> None:
    assert "early_exit.first_margin" in distributions(space(early_exit__exits=[0, 2]))
    assert "early_exit.first_margin" not in distributions(space(early_exit__exits=[1, 0]))
    assert space(early_exit__exits=[1, 2]).mildest().steps["early_exit"]["exits"] == 1


def test_the_mildest_compression_has_no_lesson() -> None:
    steps = {name: STEPS[name] for name in ("distillation", "quantization")}
    mild = joint_space({"mbconv": FAMILIES["mbconv"]}, steps, Range(8, 16, 4), {}, {}).mildest()
    assert list(mild.steps) == ["quantization"], "distillation only teaches"


def test_neighbours_of_uneven_numbers() -> None:
    knob = Levels((0.5, 0.75, 2.0))
    assert [knob.next_to(value) for value in (0.0, 0.5, 0.75, 2.0)] == [0.5, 0.75, 0.5, 0.75]
    assert knob.nearest("wide") == 0.5
    assert knob.narrowed([2.0, 0.5]).values == (0.5, 2.0)
    assert str(Range(0, 8, 1, only_if=("rule", 1)).narrowed([5, 0, 1, 5])) == "one of 0, 1, 5"
    assert Range(0, 8, 1, only_if=("rule", 1)).narrowed([5, 0, 1]) == Levels((0, 1, 5), only_if=("rule", 1))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ([0.5, 0.8, 0.75], r"mbconv\.width: 0\.8 is not allowed; allowed: 0\.5 to 3\.0 in steps of 0\.25"),
        ([0.5, 9], r"mbconv\.width: 9 is not allowed"),
        ([0.5, "wide"], r"mbconv\.width: 'wide' is no number"),
        ([0.5, True], r"mbconv\.width: True is no number"),
        ([0.5, None], r"mbconv\.width: None is no number"),
        ([0.5, [0.75]], r"mbconv\.width: \[0\.75\] is no number"),
        ([], r"mbconv\.width: \[\] leaves nothing to choose; allowed: 0\.5 to 3\.0"),
    ],
)
def test_what_the_range_does_not_hold_is_refused(spec: list[Any], said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        space(mbconv__width=spec)


def test_a_list_of_one_number_fixes_the_knob() -> None:
    assert space(mbconv__width=[0.75, 0.75]).knobs["mbconv.width"] == space(mbconv__width=0.75).knobs["mbconv.width"]
    assert isinstance(space(mbconv__kernel=[5, 3]).knobs["mbconv.kernel"], Choice)
