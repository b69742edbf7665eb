"""What `cost_aware` takes from sister studies: a head start from one that is right, no ruin from one that is wrong."""

import math
from collections.abc import Callable, Sequence

import moocore
import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from scipy.stats import spearmanr

from paredown.search.samplers.cost_aware import CostAwareSampler
from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.sampler import Cost, Params, Problem, Sister
from paredown.search.samplers.surrogate.gaussian_process import Hyperparameters, tune
from paredown.search.samplers.surrogate.sisters import MAX_OWN, MAX_ROWS, Sisters

Array = NDArray[np.float64]
KNOBS: dict[str, BaseDistribution] = {
    "depth": IntDistribution(1, 8),
    "width": IntDistribution(1, 8),
    "kernel": CategoricalDistribution([3, 5, 7]),
    "bits": CategoricalDistribution([4, 8, 32]),
}
DOMAIN = KnobDomain(KNOBS)


def cost(p: Params) -> float:
    return float(p["depth"] * p["width"] ** 2 * p["kernel"] ** 2 * p["bits"])


def accuracy(p: Params) -> float:
    lost = {4: 0.08, 8: 0.01, 32: 0.0}[p["bits"]] + 0.01 * abs(p["kernel"] - 5)
    return 1 - math.exp(-0.5 * p["depth"] ** 0.5 * p["width"] ** 0.6) - lost


class KnownCosts:
    """The cost above, known exactly."""

    columns = (Cost("cost", 1),)

    def estimate(self, params: Sequence[Params]) -> Array:
        return np.array([cost(p) for p in params]).reshape(len(params), 1)

    count = estimate


def networks(count: int, seed: int = 0) -> list[Params]:
    rng = np.random.default_rng(seed)
    return [DOMAIN.draw(rng) for _ in range(count)]


def sister(task: Callable[[Params], float], count: int = 60) -> Sister:
    params = networks(count)
    costs = KnownCosts().count(params)
    return Sister(params, np.column_stack([[-task(p) for p in params], costs[:, 0]]), costs)


def shifted(params: Params) -> float:
    return 0.4 + 0.3 * accuracy(params)


def reversed_task(params: Params) -> float:
    return -accuracy(params)


def volume_after(trials: int, seed: int, *sisters: Sister) -> float:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = CostAwareSampler(Problem(seed, 40, KNOBS, KnownCosts(), sisters=sisters))
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    for _ in range(trials):
        trial = study.ask(KNOBS)
        study.tell(trial, [accuracy(trial.params), cost(trial.params)])
    points = np.array([[-t.values[0], t.values[1]] for t in study.trials])
    return float(moocore.hypervolume(points, ref=np.array([0.0, 110_000.0])))


def predicted(own: list[Params], asked: list[Params], *sisters: Sister) -> Array:
    """Return the expected scores of networks, given some of this study and its sisters."""
    inputs, scores = DOMAIN.encode(own), np.array([accuracy(p) for p in own])
    scores = (scores - scores.mean()) / scores.std()
    data, none = (inputs, scores), (np.empty(0), np.empty(0))

    def tuned(x: Array, y: Array, fitted: int) -> Hyperparameters:
        return tune(x, y, (*DOMAIN.groups(), *range(len(KNOBS), len(KNOBS) + len(sisters))))

    model = Sisters(DOMAIN, sisters).fit(0, data, data, none, tuned, inputs[:0])
    return model(DOMAIN.encode(asked))[0]


def without_costs(one: Sister) -> Sister:
    return Sister(one.params, one.losses, one.costs[:, :0])


def test_a_sister_that_is_shifted_and_scaled_predicts_networks_that_this_study_has_not_tried() -> None:
    own, asked = networks(5, seed=1), networks(200, seed=2)
    truth = [accuracy(p) for p in asked]
    alone = spearmanr(predicted(own, asked), truth).statistic
    together = spearmanr(predicted(own, asked, without_costs(sister(shifted))), truth).statistic
    assert together > 0.9
    assert together > alone + 0.1


def test_own_networks_outweigh_a_sister_that_is_wrong() -> None:
    own, asked = networks(40, seed=1), networks(200, seed=2)
    noise = np.random.default_rng(3)
    wrong = without_costs(sister(lambda params: float(noise.normal())))
    truth = [accuracy(p) for p in asked]
    alone = spearmanr(predicted(own, asked), truth).statistic
    assert spearmanr(predicted(own, asked, wrong), truth).statistic > alone - 0.1


def test_a_search_is_ahead_with_a_sister_and_not_ruined_by_a_wrong_one() -> None:
    seeds = range(3)
    cold = np.mean([volume_after(12, seed) for seed in seeds])
    warm = np.mean([volume_after(12, seed, sister(shifted)) for seed in seeds])
    wrong = np.mean([volume_after(12, seed, sister(reversed_task)) for seed in seeds])
    assert warm > cold
    assert wrong > 0.9 * cold


def test_a_large_sister_is_thinned_from_its_best_to_its_worst_and_left_out_in_a_long_study() -> None:
    large = sister(accuracy, 4 * MAX_ROWS)
    both = Sisters(DOMAIN, [large, sister(shifted, 4 * MAX_ROWS)])
    assert len(both.params) == MAX_ROWS
    kept = [accuracy(params) for params in both.params[: MAX_ROWS // 2]]
    losses = -large.losses[:, 0]
    assert max(kept) > np.quantile(losses, 0.97)
    assert min(kept) < np.quantile(losses, 0.1)
    encoded, fitted = np.random.default_rng(0).random((MAX_OWN + 1, DOMAIN.columns + 1)), []

    def tuned(x: Array, y: Array, count: int) -> Hyperparameters:
        fitted.append(len(x))
        return Hyperparameters(np.ones(x.shape[1]), 1.0, 0.01)

    scale = np.zeros(1), np.ones(1)
    for own in (encoded, encoded[:9]):
        data = own, np.arange(len(own)) / len(own)
        both.fit(0, data, data, scale, tuned, own[:0])
    assert fitted[:4] == [MAX_OWN + 1, 9, 9 + MAX_ROWS // 2, 9 + MAX_ROWS // 2]
