"""The default sampler: its parts against arithmetic, its proposals against limits, repeats and other samplers."""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import optuna
import pytest
import toy_trials
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import TrialState

from paredown.evaluators.build import COUNTED
from paredown.search.samplers.cost_aware import LADDER, CostAwareSampler
from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.history import History
from paredown.search.samplers.knobs import distributions
from paredown.search.samplers.sampler import Cost, Params, Problem, Region, no_work
from paredown.search.samplers.surrogate.candidate_costs import CandidateCosts
from paredown.search.samplers.surrogate.cost_scale import CostScale
from paredown.search.samplers.surrogate.expected_improvement import expected_improvement
from paredown.search.samplers.surrogate.gaussian_process import MAX_TUNED, fit, tune, tuned_rows
from paredown.search.samplers.surrogate.output_transform import OutputTransform
from paredown.search.samplers.surrogate.surrogate_model import SurrogateModel
from paredown.search.samplers.tpe import make_tpe

Array = NDArray[np.float64]

KNOBS: dict[str, BaseDistribution] = {
    "depth": IntDistribution(1, 8),
    "width": IntDistribution(1, 8),
    "kernel": CategoricalDistribution([3, 5, 7]),
    "activation": CategoricalDistribution(["relu", "silu"]),
    "bits": CategoricalDistribution([4, 8, 32]),
}


def cost(p: Params) -> float:
    return float(p["depth"] * p["width"] ** 2 * p["kernel"] ** 2 * p["bits"])


def accuracy(p: Params) -> float:
    lost = {4: 0.08, 8: 0.01, 32: 0.0}[p["bits"]] + (0.02 if p["activation"] == "relu" else 0.0)
    return 1 - math.exp(-0.5 * p["depth"] ** 0.5 * p["width"] ** 0.6) - lost - 0.01 * abs(p["kernel"] - 5)


class KnownCosts:
    """The cost above; networks deeper than `deepest` cannot be built."""

    def __init__(self, limit: float | None = None, deepest: int = 8) -> None:
        self.columns = (Cost("cost", 1, limit),)
        self._deepest = deepest

    def estimate(self, params: Sequence[Params]) -> Array:
        rows = [cost(p) if p["depth"] <= self._deepest else math.nan for p in params]
        return np.array(rows).reshape(len(params), 1)

    count = estimate


def run(sampler: Any, trials: int, directions: tuple[str, ...] = ("maximize", "minimize")) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=directions, sampler=sampler)
    for _ in range(trials):
        trial = study.ask(KNOBS)
        study.tell(trial, [accuracy(trial.params), cost(trial.params)])
    return study


def volume(study: optuna.Study) -> float:
    points = np.array([[-t.values[0], t.values[1]] for t in study.trials if t.values])
    return float(moocore.hypervolume(points, ref=np.array([0.0, 110_000.0])))


@pytest.mark.parametrize("axes", [0, 1, 2, 3])
def test_improvement_equals_the_gain_counted_by_another_library(axes: int) -> None:
    rng = np.random.default_rng(axes)
    front, candidates = rng.random((9, axes + 1)), rng.random((7, axes + 1))
    reference = np.full(axes + 1, 1.1)
    before = moocore.hypervolume(front, ref=reference)
    gained = [moocore.hypervolume(np.vstack([front, c]), ref=reference) - before for c in candidates]
    got = expected_improvement(front, reference, candidates[:, :1], np.ones(1), candidates[:, 1:])
    assert got == pytest.approx(np.array(gained), abs=1e-9)
    assert max(gained) > 0


def test_improvement_is_the_mean_over_what_the_loss_may_be() -> None:
    front, reference = np.array([[0.5, 0.5]]), np.ones(2)
    losses = np.array([[0.2, 0.6]])
    got = expected_improvement(front, reference, losses, np.array([0.25, 0.75]), np.array([[0.4]]))
    # at loss 0.2: 0.1 x 0.8 left of the point and 0.5 x 0.3 below it; at 0.6: 0.1 x 0.4 left of it
    assert got == pytest.approx(0.25 * (0.08 + 0.15) + 0.75 * 0.04)


def test_a_large_front_is_thinned_but_not_underestimated() -> None:
    rng = np.random.default_rng(0)
    angles = rng.random((400, 2)) * math.pi / 2
    front = np.column_stack(
        [np.cos(angles[:, 0]), np.sin(angles[:, 0]) * np.cos(angles[:, 1]), np.sin(angles[:, 0]) * np.sin(angles[:, 1])]
    )
    reference, candidate = np.full(3, 1.1), np.array([[0.3, 0.3, 0.3]])
    exact = moocore.hypervolume(np.vstack([front, candidate]), ref=reference) - moocore.hypervolume(front, reference)
    got = expected_improvement(front, reference, candidate[:, :1], np.ones(1), candidate[:, 1:])[0]
    assert exact <= got <= 1.2 * exact


def test_warping_keeps_the_order_and_comes_back() -> None:
    losses = np.concatenate([np.random.default_rng(1).normal(size=40), [50.0, 1e4]])
    warping = OutputTransform.of(losses)
    scores = warping.score(losses)
    assert (np.argsort(scores, kind="stable") == np.argsort(losses, kind="stable")).all()
    assert warping.loss(scores[:-2]) == pytest.approx(losses[:-2])
    assert scores.max() < 4.1, "an outlier bends nothing"
    assert warping.loss(np.array([scores.min() - 1]))[0] < losses.min()
    assert np.isfinite(OutputTransform.of(np.ones(5)).score(np.ones(5))).all()


def test_the_kernel_finds_the_knobs_that_matter() -> None:
    rng = np.random.default_rng(2)
    x = rng.random((80, 4))
    y = np.sin(5 * x[:, 2])
    y = (y - y.mean()) / y.std()
    tuning = tune(x, y, (0, 1, 2, 3))
    assert tuning.lengths.argmin() == 2
    mean, spread = fit(x, y, tuning)(x)
    assert np.abs(mean - y).max() < 0.2
    assert fit(x, y, tuning)(x + 3.0)[1].min() > spread.max()


def test_trees_take_over_where_there_are_many_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    x = rng.random((1600, 3))
    mean, spread = fit(x, 2 * x[:, 0] - 1, tune(x[:60], 2 * x[:60, 0] - 1, (0, 1, 2)))(rng.random((5, 3)))
    assert mean.shape == spread.shape == (5,)
    assert (spread > 0).all()


def test_tuned_on_a_growing_and_bounded_number_of_trials() -> None:
    rows = [tuned_rows(n) for n in range(1, 2000)]
    assert rows == sorted(rows)
    assert rows[:10] == list(range(1, 11))
    assert rows[-1] <= MAX_TUNED
    assert all(r <= n for r, n in zip(rows, range(1, 2000), strict=True))


def test_needs_fewer_trials_than_tpe() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        problems = [Problem(seed, 30, KNOBS, KnownCosts()) for seed in range(3)]
        ours = [volume(run(CostAwareSampler(p), 30)) for p in problems]
        theirs = [volume(run(make_tpe(p), 30)) for p in problems]
    assert np.mean(ours) > np.mean(theirs)
    assert min(ours) > np.mean(theirs)


def test_never_proposes_what_breaks_a_known_limit_or_cannot_be() -> None:
    study = run(CostAwareSampler(Problem(0, 24, KNOBS, KnownCosts(limit=2000.0, deepest=6))), 24)
    assert max(cost(t.params) for t in study.trials) <= 2000
    assert max(t.params["depth"] for t in study.trials) <= 6


def test_goes_on_where_nothing_is_allowed_and_where_all_was_tried() -> None:
    assert len(run(CostAwareSampler(Problem(0, 8, KNOBS, KnownCosts(limit=1.0))), 8).trials) == 8
    sampler = CostAwareSampler(Problem(0, 16))
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    for _ in range(9):
        trial = study.ask({"depth": IntDistribution(1, 4)})
        study.tell(trial, [trial.params["depth"], 5 - trial.params["depth"]])
    assert {t.params["depth"] for t in study.trials} == {1, 2, 3, 4}


def test_proposes_no_network_twice_also_with_many_running() -> None:
    sampler = CostAwareSampler(Problem(1, 40, KNOBS, KnownCosts()))
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    seen = set()
    for _ in range(5):
        trials = [study.ask(KNOBS) for _ in range(6)]
        seen |= {tuple(t.params.items()) for t in trials}
        for trial in trials:
            study.tell(trial, [accuracy(trial.params), cost(trial.params)])
    assert len(seen) == 30


def test_learns_to_avoid_networks_that_fail_or_break_a_constraint() -> None:
    sampler = CostAwareSampler(Problem(2, 60, KNOBS, KnownCosts()))
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    bad = []
    for _ in range(45):
        trial = study.ask(KNOBS)
        fails = trial.params["kernel"] == 7
        breaks = trial.params["width"] > 6
        bad.append(fails or breaks)
        if fails:
            study.tell(trial, state=TrialState.FAIL)
            continue
        trial.set_constraint("memory", trial.params["width"] - 6.5)
        study.tell(trial, [accuracy(trial.params), cost(trial.params)])
    assert any(bad[:12]), "at first it cannot know"
    assert sum(bad[12:]) <= 0.15 * len(bad[12:]), "half of the space is bad"


@pytest.mark.parametrize("directions", [("maximize",), ("maximize", "minimize", "minimize", "minimize")])
def test_does_one_objective_and_four_without_known_costs(directions: tuple[str, ...]) -> None:
    study = optuna.create_study(directions=directions, sampler=CostAwareSampler(Problem(3, 24)))
    for _ in range(24):
        trial = study.ask(KNOBS)
        p = trial.params
        values = [accuracy(p), cost(p), float(p["depth"]), float(p["bits"])]
        study.tell(trial, values[: len(directions)])
    assert len({tuple(t.params.items()) for t in study.trials}) == 24


def test_goes_on_as_if_it_had_not_been_closed() -> None:
    problem = Problem(4, 20, KNOBS, KnownCosts())
    whole = run(CostAwareSampler(problem), 20)
    parts = run(CostAwareSampler(problem), 13)
    parts.sampler = CostAwareSampler(problem)
    for _ in range(7):
        trial = parts.ask(KNOBS)
        parts.tell(trial, [accuracy(trial.params), cost(trial.params)])
    assert [t.params for t in whole.trials] == [t.params for t in parts.trials]


class TestCandidateCosts:
    def test_counts_what_the_trained_network_has(self, tmp_path: Path) -> None:
        setup = toy_trials.toy_setup(tmp_path)
        knobs = distributions(setup.space)
        costs = CandidateCosts(setup.space, KnobDomain(knobs), setup.task, setup.plan.objectives)
        baseline = setup.space.values(setup.space.baseline)
        smaller = {**baseline, "mbconv.width": 0.5}
        (macs, params), (fewer_macs, fewer_params) = costs.count([baseline, smaller])
        assert COUNTED == ("macs", "params")
        assert fewer_macs < macs
        assert fewer_params < params

    def test_estimates_are_near_the_counts(self, tmp_path: Path) -> None:
        setup = toy_trials.toy_setup(tmp_path)
        domain = KnobDomain(distributions(setup.space), lambda p: setup.space.values(setup.space.candidate(p)))
        costs = CandidateCosts(setup.space, domain, setup.task, setup.plan.objectives)
        rng = np.random.default_rng(0)
        draws = [domain.draw(rng) for _ in range(12)]
        ratio = costs.estimate(draws) / costs.count(draws)
        assert np.abs(np.log(ratio)).max() < np.log(1.3)
        assert np.median(np.abs(np.log(ratio))) < np.log(1.05)

    def test_what_is_optimised_and_limited_is_named(self, tmp_path: Path) -> None:
        setup = toy_trials.toy_setup(tmp_path, objectives=["accuracy", "macs"], limits={"params": 50_000})
        costs = CandidateCosts(setup.space, KnobDomain({}), setup.task, setup.plan.objectives)
        assert costs.columns == (Cost("macs", 1, None), Cost("params", None, 50_000))


def test_a_space_that_is_used_up_is_no_error() -> None:
    class Strict(KnownCosts):
        def estimate(self, params: Sequence[Params]) -> Array:
            assert params, "as a Gaussian process asks for"
            return super().estimate(params)

        count = estimate

    knobs = {"depth": IntDistribution(1, 3), "width": IntDistribution(1, 2)}
    fixed = {"kernel": 3, "activation": "relu", "bits": 8}
    study = optuna.create_study(
        directions=["maximize", "minimize"], sampler=CostAwareSampler(Problem(0, 9, knobs, _Filled(Strict(), fixed)))
    )

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        params = {"depth": trial.suggest_int("depth", 1, 3), "width": trial.suggest_int("width", 1, 2)} | fixed
        return accuracy(params), cost(params)

    study.optimize(objective, n_trials=9)
    assert len({tuple(sorted(t.params.items())) for t in study.trials}) == 6


class _Filled:
    """Costs of networks whose other knobs are fixed."""

    def __init__(self, costs: KnownCosts, fixed: Params) -> None:
        self.columns, self._costs, self._fixed = costs.columns, costs, dict(fixed)

    def estimate(self, params: Sequence[Params]) -> Array:
        return self._costs.estimate([{**p, **self._fixed} for p in params])

    count = estimate


class TestRegion:
    """Accuracies from 0.9 on are accepted; the names of the objectives are those of the constraints."""

    REGION = Region({0: -0.9}, frozenset({"accuracy"}))

    def run(self, trials: int, region: Region) -> list[float]:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        problem = Problem(0, trials, KNOBS, KnownCosts(), region=lambda: region)
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=CostAwareSampler(problem))
        found = []
        for _ in range(trials):
            trial = study.ask(KNOBS)
            found.append(accuracy(trial.params))
            trial.set_constraint("accuracy", 0.9 - found[-1])
            study.tell(trial, [found[-1], cost(trial.params)])
        return found

    def test_most_trials_are_inside_once_the_model_knows(self) -> None:
        narrow = Region({0: -0.95}, frozenset({"accuracy"}))
        inside = [sum(a >= 0.95 for a in self.run(24, region)[8:]) for region in (narrow, Region())]
        assert inside[0] > inside[1]
        assert inside[0] >= 10

    def test_an_improvement_outside_is_none(self) -> None:
        domain, history = KnobDomain(KNOBS), History(signs=np.array([-1.0, 1.0]))
        history.done = [domain.draw(np.random.default_rng(n)) for n in range(30)]
        history.losses = np.array([[-accuracy(p), cost(p)] for p in history.done])
        history.violations = [{"accuracy": max(0.0, 0.9 - accuracy(p))} for p in history.done]
        model = SurrogateModel(domain, history, KnownCosts(), {}, self.REGION)
        drawn = [domain.draw(np.random.default_rng(n)) for n in range(100, 160)]
        batch = model.batch(drawn)
        gains, accuracies = model.improvement(batch), np.array([accuracy(p) for p in batch.params])
        assert gains[accuracies >= 0.9].max() > 100 * gains[accuracies < 0.8].max()
        assert model.violations(np.array([[-0.95, 1.0], [-0.85, 1.0]])) == pytest.approx([0.0, 0.5])
        assert all(accuracy(p) >= 0.9 for p in model.best)

    def test_where_nothing_is_inside_the_nearest_is_the_front_and_feasibility_decides(self) -> None:
        domain, history = KnobDomain(KNOBS), History(signs=np.array([-1.0, 1.0]))
        drawn = [domain.draw(np.random.default_rng(n)) for n in range(60)]
        history.done = [p for p in drawn if accuracy(p) < 0.8][:12]
        history.losses = np.array([[-accuracy(p), cost(p)] for p in history.done])
        history.violations = [{"accuracy": 0.9 - accuracy(p)} for p in history.done]
        model = SurrogateModel(domain, history, KnownCosts(), {}, self.REGION)
        assert accuracy(model.best[0]) == max(accuracy(p) for p in history.done)
        batch = model.batch(drawn)
        chosen = batch.params[int(model.improvement(batch).argmax())]
        assert accuracy(chosen) > 0.8, "better than all that were tried"

    def test_the_first_networks_step_down_in_size_and_are_compressed_like_good_ones(self) -> None:
        base = {"depth": 8, "width": 8, "kernel": 5, "activation": "silu", "bits": 32}
        good = [base, {**base, "bits": 8}]
        problem = Problem(0, 40, KNOBS, KnownCosts(), start=good)
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=CostAwareSampler(problem))
        for params in good:
            study.enqueue_trial(params)
        asked = []
        for _ in range(5):
            trial = study.ask(KNOBS)
            asked.append(trial.params)
            study.tell(trial, [accuracy(trial.params), cost(trial.params)])
        assert {p["bits"] for p in asked} == {32, 8}, "the only knob in which the good ones differ"
        steps = sorted(cost(good[1]) / cost(p) for p in asked[2:])
        assert steps == pytest.approx([LADDER ** (1 / 3), LADDER ** (2 / 3), LADDER], rel=0.3)

    def test_costs_beyond_the_reference_promise_nothing(self) -> None:
        domain = KnobDomain(KNOBS)
        drawn = [domain.draw(np.random.default_rng(i)) for i in range(60)]
        history = History(done=drawn, violations=[{}] * len(drawn))
        history.losses = np.array([[-accuracy(p), cost(p)] for p in drawn])
        middle = float(np.median(history.losses[:, 1]))
        others = [domain.draw(np.random.default_rng(1000 + i)) for i in range(60)]
        dear = np.array([cost(p) > middle for p in others])
        model = SurrogateModel(domain, history, KnownCosts(), {}, Region(reference={1: middle}))
        gains = model.improvement(model.batch(others))
        assert (gains[dear] == 0).all()
        assert gains[~dear].max() > 0


def test_what_is_trained_already_comes_first_where_the_gain_is_the_same() -> None:
    base = {"depth": 8, "width": 8, "kernel": 5, "activation": "silu", "bits": 32}

    def work(params: Any, trained: Any) -> Any:
        networks = [{**p, "bits": 0} for p in trained]
        return np.array([0.01 if {**p, "bits": 0} in networks else 1.0 for p in params])

    shares = []
    for given in (no_work, work):
        problem = Problem(0, 24, KNOBS, KnownCosts(), start=[base, {**base, "bits": 8}], work=given)
        study = run(CostAwareSampler(problem), 24)
        networks = [tuple(sorted({**t.params, "bits": 0}.items())) for t in study.trials]
        shares.append(len(set(networks)) / len(networks))
    assert shares[1] < shares[0], "fewer networks are trained in as many trials"


def test_costs_that_span_decades_are_on_a_logarithmic_scale() -> None:
    table = np.array([[0.5, 1.0, 1.0], [0.1, 1000.0, 50.0]])
    scale = CostScale.of(table[:, 1:])
    assert scale.is_log.tolist() == [True, False]
    assert scale.scaled(table) == pytest.approx(np.array([[0.5, 0.0, 1.0], [0.1, math.log(1000), 50.0]]))
    assert not CostScale.of(table[:0, 1:]).is_log.any()
    assert not CostScale.of(np.array([[0.0], [1000.0]])).is_log.any(), "there is no logarithm of 0"
