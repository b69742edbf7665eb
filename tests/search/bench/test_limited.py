"""Races with limits: samplers are told them, and what is outside counts for nothing."""

from collections.abc import Sequence

import numpy as np
import optuna
import pytest
from landscapes.function import FunctionLandscape, Network
from landscapes.limited import LIMITED
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from paredown.search.bench.landscape import Goal
from paredown.search.bench.race import run_once
from paredown.search.bench.share import full_volume, shares
from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.sampler import Cost, Params, Problem

GOALS = (Goal("accuracy", maximise=True, limit=5.0), Goal("macs", known=True))


def network(params: Params) -> Network:
    values = (float(params["a"]), float(params["b"]))
    return Network(values, values, values[1:])


def landscape() -> FunctionLandscape:
    knobs = {"a": IntDistribution(0, 9), "b": IntDistribution(1, 9)}
    return FunctionLandscape("small", GOALS, knobs, np.array([-5.0, 10.0]), (Cost("macs", 1),), network, 500)


class Recording(RandomSampler):
    """Keeps its problem and what each trial was told."""

    problem = Problem(0, 1)
    told: list[tuple[float, dict[str, float]]]

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Keep the accuracy and the constraints."""
        assert values is not None
        self.told.append((values[0], dict(trial.constraints)))


def recording(problem: Problem) -> BaseSampler:
    """Return the sampler that keeps what it learns."""
    Recording.problem, Recording.told = problem, []
    return Recording(problem.seed)


def test_samplers_are_told_the_limits_and_by_how_much_a_network_breaks_them() -> None:
    run_once(landscape(), f"{__name__}:recording", 0, 20)
    region = Recording.problem.region()
    assert dict(region.losses) == {0: -5.0}
    assert region.constraints == {"accuracy"}
    assert dict(region.reference) == {1: 10.0}, "costs beyond the reference point count for nothing"
    assert len(Recording.told) == 20
    assert all(constraints == {"accuracy": 5.0 - accuracy} for accuracy, constraints in Recording.told)
    assert min(accuracy for accuracy, _ in Recording.told) < 5 < max(accuracy for accuracy, _ in Recording.told)


def test_networks_outside_count_for_nothing() -> None:
    made = landscape()
    run = run_once(made, "random", 0, 30)
    outside = [loss is not None and loss[0] >= -5.0 for loss in run.losses]
    curve = shares(run, made.reference, full_volume(made, [run]))
    gained = [after > before for before, after in zip([0.0, *curve], curve, strict=False)]
    assert any(outside)
    assert any(gained)
    assert not any(out and gain for out, gain in zip(outside, gained, strict=True))


@pytest.mark.parametrize("name", list(LIMITED))
def test_landscapes_with_limits_are_the_same_every_time_and_leave_room_to_search(name: str) -> None:
    first, second = LIMITED[name](), LIMITED[name]()
    domain, rng = KnobDomain(first.distributions, first.canonical), np.random.default_rng(0)
    drawn = [domain.draw(rng) for _ in range(300)]
    outcomes = [first.outcome(params) for params in drawn]
    assert outcomes == [second.outcome(params) for params in drawn]
    found = np.array([one.losses for one in outcomes if one.losses is not None])
    inside = (found < first.reference).all(1).mean()
    assert 0.05 < inside < 0.5
    assert (len(found) < len(outcomes)) == (name == "islands"), "islands are networks that cannot be trained"


def test_knobs_of_other_families_make_no_other_network() -> None:
    islands = LIMITED["islands"]()
    params = KnobDomain(islands.distributions).draw(np.random.default_rng(0)) | {"family": "plain"}
    other = params | {"attention.layers": params["attention.layers"] % 6 + 1}
    assert islands.outcome(params) == islands.outcome(other)
    assert islands.canonical(params) == islands.canonical(other)
