"""The default sampler: it models accuracy alone, since all costs are known before training.

A Gaussian process over the knobs and the logarithms of the known costs predicts accuracy. The sampler proposes the
network with the largest expected hypervolume improvement, in which the costs are exact. It never proposes a network
that cannot be built or that breaks a limit on a known cost.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import moocore
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.history import History
from paredown.search.samplers.proposing import ProposingSampler, fresh_draw
from paredown.search.samplers.sampler import Costs, Params, Problem
from paredown.search.samplers.surrogate.batch import Batch

if TYPE_CHECKING:  # with SciPy and scikit-learn, which take seconds to load: only once a model is fitted
    from paredown.search.samplers.surrogate.sisters import Sisters
    from paredown.search.samplers.surrogate.surrogate_model import HyperparameterCache, SurrogateModel

MIN_DONE = 3
"""Minimum number of finished trials with values for which the model is fitted."""
MAX_START = 6
"""Maximum number of first networks, which are spread over the costs; a short study takes an eighth of its trials."""
START_DRAWS, START_NEAREST = 256, 8
"""Number of random draws for a first network, and how many of them, the nearest to the wanted cost, are compared with
the networks tried so far: the one most unlike them is proposed."""
LADDER = 16.0
"""Factor by which the smallest of the first networks is cheaper than the cheapest one that is known to be good."""
NEAR_TRIES = 20
"""Number of draws that look for an untried network that is compressed like a good one."""
RANDOM_CANDIDATES, NEIGHBOURS, GENERATIONS, PARENTS, CHILDREN = 400, 400, 3, 40, 120
"""Size of the candidate pool of one proposal: random candidates, neighbours of the front, generations of offspring, and
parents and children in each generation."""
FINALISTS, ROUNDS = 3, 10
"""Number of the most promising candidates whose costs are counted exactly in one round, and maximum number of rounds;
the costs of all others are estimated."""


class CostAwareSampler(ProposingSampler):
    """Expected hypervolume improvement with known costs.

    Source:
        Daulton, Balandat, Bakshy, Parallel Bayesian Optimization of Multiple Noisy Objectives with Expected
        Hypervolume Improvement, NeurIPS 2021, for the acquisition; to leave known objectives unmodelled is our
        own choice.
    """

    def __init__(self, problem: Problem | None = None) -> None:
        super().__init__(problem)
        self._hyperparameters: HyperparameterCache = {}
        # The networks that sisters know are asked by whoever begins the study.
        self._start = MIN_DONE if self._problem.sisters else max(MIN_DONE, min(MAX_START, self._problem.trials // 8))
        self._sisters: Sisters | None = None

    def propose(self, domain: KnobDomain, history: History, rng: np.random.Generator) -> Params:
        """Return the knobs of the next network."""
        with threadpool_limits(1):  # the matrices are small, and the other cores train
            return self._proposed(domain, history, rng)

    def _proposed(self, domain: KnobDomain, history: History, rng: np.random.Generator) -> Params:
        if len(history.seen) < self._start or len(history.done) < MIN_DONE:
            return self._spread(domain, history, rng)
        from paredown.search.samplers.surrogate.sisters import Sisters
        from paredown.search.samplers.surrogate.surrogate_model import SurrogateModel

        if self._sisters is None:
            self._sisters = Sisters(domain, self._problem.sisters)
        costs, region = self._problem.costs, self._problem.region()
        model = SurrogateModel(domain, history, costs, self._hyperparameters, region, self._sisters)
        pool = _pool(domain, history, model, rng, self._sisters.params)
        if not pool.params:
            return fresh_draw(domain, history, rng)
        trained = [*history.done, *history.pending, *(params for params, _, _ in history.stopped)]
        return _best(pool, model, lambda params: self._problem.work(params, trained))

    def _spread(self, domain: KnobDomain, history: History, rng: np.random.Generator) -> Params:
        """Return an allowed network whose cost is the next of evenly spread ones and which is unlike those tried."""
        good = [domain.completed(params, rng) for params in self._problem.start]
        draws: Sequence[Params] = [_first_draw(domain, history, rng, good) for _ in range(START_DRAWS)]
        tried = [*history.done, *history.pending, *history.failed, *(p for p, _, _ in history.stopped)]
        if self._problem.costs is not None:
            draws = self._near_the_next_cost(self._problem.costs, draws, good, len(tried))
        if not tried:
            return draws[0]
        from scipy.spatial.distance import cdist

        distances = cdist(domain.encode(draws), domain.encode(tried)).min(1)
        return draws[int(distances.argmax())]

    def _near_the_next_cost(
        self, costs: Costs, draws: Sequence[Params], good: Sequence[Params], number: int
    ) -> Sequence[Params]:
        """Return allowed networks whose cost is the next of evenly spread ones: counted where estimates are nearest."""
        limits = np.array([np.inf if c.limit is None else c.limit for c in costs.columns])
        target: float | None = None
        for known, most in ((costs.estimate, 2 * START_NEAREST), (costs.count, START_NEAREST)):
            values = known(draws)
            if not len(allowed := np.flatnonzero(~np.isnan(values).any(1) & (values <= limits).all(1))):
                break
            logs = np.log(np.maximum(values[allowed, 0], 1e-12))
            if target is None:
                high = min(logs.max(), np.log(costs.count(good)[:, 0].min())) if good else logs.max()
                low = max(logs.min(), high - np.log(LADDER)) if good else logs.min()
                target = low + self._place(number, len(good)) * (high - low)
            order = np.argsort(np.abs(logs - target), kind="stable")
            draws = [draws[allowed[i]] for i in order[:most]]
        return draws

    def _place(self, number: int, given: int) -> float:
        """Return where the next first network lies in the range of costs, 0 to 1; the order is a fixed shuffle.

        The dearest place belongs to the networks that are given, where there are some.
        """
        count = max(1, self._start - given)
        places = np.linspace(0, 1, count, endpoint=not given)
        return float(np.random.default_rng(count).permutation(places)[(number - given) % count])


def _first_draw(domain: KnobDomain, history: History, rng: np.random.Generator, good: Sequence[Params]) -> Params:
    """Return an untried network; where some are known to be good, one that is compressed like one of them.

    A knob in which the good networks differ is the strength of a compression step. Networks that are small from the
    start keep their accuracy better than networks that are compressed as much, and they train faster.
    """
    for _ in range(NEAR_TRIES if good else 0):
        params = domain.draw(rng)
        for name in domain.names:
            values = [one[name] for one in good]
            if any(value != values[0] for value in values):
                params[name] = values[int(rng.integers(len(values)))]
        if domain.key(params) not in history.seen:
            return params
    return fresh_draw(domain, history, rng)


def _pool(
    domain: KnobDomain, history: History, model: "SurrogateModel", rng: np.random.Generator, elsewhere: Sequence[Params]
) -> Batch:
    """Return untried networks: random ones, neighbours of the front, those evaluated elsewhere, and their offspring."""
    known = set(history.seen)

    def fresh(candidates: Iterable[Params]) -> Batch:
        new: list[Params] = []
        for params in candidates:
            key = domain.key(params)
            if key not in known:
                known.add(key)
                new.append(params)
        return model.batch(new)

    near = [other for params in model.best for other in domain.neighbours(params, rng)]
    chosen = [near[i] for i in rng.permutation(len(near))[:NEIGHBOURS]]
    drawn = (domain.draw(rng) for _ in range(RANDOM_CANDIDATES))
    pool = fresh([*drawn, *chosen, *(domain.completed(params, rng) for params in elsewhere)])
    losses = model.losses(pool)
    for _ in range(GENERATIONS if pool.params else 0):
        # One generation of NSGA-II on expected objectives (Deb et al., IEEE TEC 2002): the best ranks have children.
        # Networks that are expected to be outside of the region come after all others.
        parents = np.lexsort((moocore.pareto_rank(losses), model.violations(losses)))[:PARENTS]
        children = []
        for a, b in parents[rng.integers(len(parents), size=(CHILDREN, 2))]:
            child = domain.crossed(pool.params[a], pool.params[b], rng)
            children.append(domain.mutated(child, rng) if rng.random() < 0.5 else child)
        born = fresh(children)
        pool, losses = pool + born, np.vstack([losses, model.losses(born)])
    return pool


def _best(pool: Batch, model: "SurrogateModel", work: Callable[[Sequence[Params]], NDArray[np.float64]]) -> Params:
    """Return the network of the largest improvement for its work, once the costs of the best are counted exactly."""
    gains = model.improvement(pool)
    if not (gains > 0).any():  # no candidate promises a gain: explore where the model is least certain
        gains = model.uncertainty(pool)
    order = np.argsort(-gains / work(pool.params), kind="stable")
    for at in range(0, min(len(order), FINALISTS * ROUNDS), FINALISTS):
        finalists = model.batch([pool.params[i] for i in order[at : at + FINALISTS]], counted=True)
        if finalists.params:
            return finalists.params[int((model.improvement(finalists) / work(finalists.params)).argmax())]
    return pool.params[int(order[0])]
