"""Knobs: what they hold, what is nearest, what narrows them, what they ask of a sampler."""

import math
import random

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paredown.spaces.conditions import active
from paredown.spaces.errors import SpaceError
from paredown.spaces.knob import Choice, Range

GRID = Range(0.0, 0.75, 0.125)
SIDES = Range(8, 32, 4)


def test_a_range_holds_its_grid_and_nothing_between() -> None:
    assert [i / 16 for i in range(-2, 15) if i / 16 in GRID] == [i / 8 for i in range(7)]
    assert [i for i in range(40) if i in SIDES] == [8, 12, 16, 20, 24, 28, 32]
    for stranger in (True, "8", None, math.nan, math.inf, [8]):
        assert stranger not in SIDES


def test_a_choice_tells_true_from_one() -> None:
    assert True not in Choice((1, 2))
    assert 1 not in Choice((False, True))
    assert False in Choice((False, True))


def test_lowest_highest_and_fixed() -> None:
    assert (SIDES.lowest, SIDES.highest, SIDES.is_fixed) == (8, 32, False)
    assert (Choice(("b", "a")).lowest, Choice(("b", "a")).highest) == ("b", "a")
    assert Range(8, 8, 4).is_fixed
    assert Choice(("a",)).is_fixed


@given(st.floats(-100, 100), st.integers(-20, 20), st.integers(0, 40), st.sampled_from([0.125, 0.3, 0.05, 2.0]))
def test_the_nearest_is_the_grid_point_of_least_distance(value: float, low: int, steps: int, step: float) -> None:
    knob = Range(float(low), round(low + steps * step, 10), step)  # as one writes it: 2.7, not 2.6999999999999997
    nearest = knob.nearest(value)
    assert nearest in knob
    distances = [abs(low + i * step - value) for i in range(steps + 1)]
    assert abs(float(nearest) - value) == pytest.approx(min(distances), abs=1e-8)


def test_the_nearest_has_the_type_of_the_knob() -> None:
    assert isinstance(SIDES.nearest(9.6), int)
    assert isinstance(Range(0.0, 4.0, 1.0).nearest(2), float)
    assert SIDES.nearest("many") == 8
    assert Choice((1, 2)).nearest(3) == 1
    assert isinstance(Choice((1, 2)).nearest(2.0), int)  # 2 and 2.0 are written differently in JSON


@pytest.mark.parametrize(
    ("spec", "low", "high", "step"),
    [
        (0.25, 0.25, 0.25, 0.125),
        ({"low": 0.25}, 0.25, 0.75, 0.125),
        ({"high": 0.5}, 0.0, 0.5, 0.125),
        ({"low": 0.25, "high": 0.75, "step": 0.25}, 0.25, 0.75, 0.25),
        ({}, 0.0, 0.75, 0.125),
    ],
)
def test_a_range_narrows(spec: object, low: float, high: float, step: float) -> None:
    assert GRID.narrowed(spec) == Range(low, high, step)


def test_narrowed_bounds_take_the_type_of_the_knob() -> None:
    narrow = SIDES.narrowed({"low": 12.0, "high": 20.0})
    assert narrow == Range(12, 20, 4)
    assert all(isinstance(v, int) for v in (narrow.low, narrow.high, narrow.step))


def test_a_choice_narrows_in_its_own_order_and_keeps_its_condition() -> None:
    knob = Choice(("a", "b", "c"), only_if=("other", 1))
    assert knob.narrowed(["c", "a", "c"]) == Choice(("a", "c"), only_if=("other", 1))
    assert knob.narrowed("b") == Choice(("b",), only_if=("other", 1))
    assert Range(0, 4, 1, only_if=("other", 1)).narrowed(2).only_if == ("other", 1)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"low": 0.5, "high": 0.25}, "low 0.5 is above high 0.25; the range is upside down"),
        ({"low": 0.1}, "0.1 is not allowed; allowed: 0.0 to 0.75 in steps of 0.125"),
        ({"high": 1.0}, "1.0 is not allowed"),
        ({"step": 0.1}, "step 0.1 is not a positive multiple of 0.125"),
        ({"step": -0.125}, "not a positive multiple"),
        ({"step": 0}, "not a positive multiple"),
        ({"step": math.inf}, "inf is no number"),
        ({"step": math.nan}, "nan is no number"),
        ({"low": math.nan}, "nan is no number"),
        ({"high": math.inf}, "inf is no number"),
        ({"low": 0.0, "high": 0.625, "step": 0.25}, "high 0.625 is not reached from low 0.0 in steps of 0.25"),
        ({"lowest": 0.0}, "unknown key 'lowest'; allowed: low, high, step"),
        (True, "True is no number"),
        ("0.25", "'0.25' is no number"),
        (None, "None is no number"),
    ],
)
def test_a_range_refuses(spec: object, said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        GRID.narrowed(spec)


@pytest.mark.parametrize("spec", ["d", ["a", "d"], {"low": "a"}, None, True])
def test_a_choice_refuses(spec: object) -> None:
    with pytest.raises(SpaceError, match="is not allowed; allowed: one of a, b"):
        Choice(("a", "b")).narrowed(spec)


def test_what_an_optuna_trial_suggests_is_allowed_and_covers_the_knob() -> None:
    knobs = {"grid": GRID, "sides": SIDES, "choice": Choice((False, True)), "tenths": Range(1.0, 1.5, 0.05)}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen: dict[str, set[object]] = {name: set() for name in knobs}
    for _ in range(150):
        trial = study.ask()
        for name, knob in knobs.items():
            value = knob.suggest(trial, name)  # type: ignore[arg-type]  # a trial is wider than what is needed
            assert value in knob
            assert type(value) is type(knob.lowest)
            seen[name].add(value)
    assert {name: len(values) for name, values in seen.items()} == {"grid": 7, "sides": 7, "choice": 2, "tenths": 11}


def test_equal_grid_points_are_one_number() -> None:
    knob, dice = Range(1.0, 1.5, 0.05), random.Random(0)
    for i in range(11):
        noisy = 1.0 + i * 0.05 + dice.uniform(-1e-9, 1e-9)
        assert knob.nearest(noisy) == round(1.0 + i * 0.05, 10)


def test_a_knob_counts_while_its_sibling_counts_and_has_one_of_the_values() -> None:
    knobs = {
        "weights": Choice(("fp32", "int8", "mixed")),
        "early": Range(2, 8, 1, only_if=("weights", "mixed")),
        "activations": Choice(("uint8", "fp32"), only_if=("weights", ("int8", "mixed"))),
        "calibration": Choice(("minmax", "entropy"), only_if=("activations", "uint8")),
    }
    values = {"weights": "fp32", "early": 2, "activations": "uint8", "calibration": "minmax"}
    assert active(knobs, values) == {"weights": "fp32"}  # the sibling of calibration has the value and does not count
    assert set(active(knobs, values | {"weights": "int8"})) == {"weights", "activations", "calibration"}
    assert set(active(knobs, values | {"weights": "mixed", "activations": "fp32"})) == {
        "weights",
        "early",
        "activations",
    }
