"""The default: a model of accuracy alone, since all costs are known before training.

A Gaussian process over the knobs and the logarithms of the known costs predicts accuracy; the next network is
the one with the largest expected gain of hypervolume, in which the costs are certain. What cannot be built, or
breaks a limit on a known cost, is never proposed.
"""

from collections.abc import Iterable

import moocore
import numpy as np
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.history import History
from paredown.search.samplers.proposing import ProposingSampler, fresh_draw
from paredown.search.samplers.sampler import Params, Problem
from paredown.search.samplers.surrogate.surrogate_model import Batch, HyperparameterCache, SurrogateModel

MIN_DONE = 3
"""Below so many finished trials there is nothing to model."""
MAX_START = 12
"""So many first networks at most are spread over the costs; in a short study an eighth of the trials."""
START_DRAWS, START_NEAREST = 256, 8
"""A first network is the one most unlike those tried among so many nearest to the wanted cost, of so many draws."""
RANDOM_CANDIDATES, NEIGHBOURS, GENERATIONS, PARENTS, CHILDREN = 400, 400, 3, 40, 120
"""Candidates of one proposal: random ones, neighbours of the front, and children in each generation."""
FINALISTS, ROUNDS = 3, 10
"""The costs of so many are counted exactly, in at most so many rounds, where the others' are estimated."""


class CostAwareSampler(ProposingSampler):
    """Expected hypervolume improvement with known costs.

    Source:
        Daulton, Balandat, Bakshy, Parallel Bayesian Optimization of Multiple Noisy Objectives with Expected
        Hypervolume Improvement, NeurIPS 2021, for the acquisition; that known objectives are not modelled is
        ours.
    """

    def __init__(self, problem: Problem | None = None) -> None:
        super().__init__(problem)
        self._hyperparameters: HyperparameterCache = {}
        self._start = max(MIN_DONE, min(MAX_START, self._problem.trials // 8))

    def propose(self, domain: KnobDomain, history: History, rng: np.random.Generator) -> Params:
        """Return the knobs of the next network."""
        with threadpool_limits(1):  # the matrices are small, and the other cores train
            return self._proposed(domain, history, rng)

    def _proposed(self, domain: KnobDomain, history: History, rng: np.random.Generator) -> Params:
        if len(history.seen) < self._start or len(history.done) < MIN_DONE:
            return self._spread(domain, history, rng)
        model = SurrogateModel(domain, history, self._problem.costs, self._hyperparameters)
        pool = _pool(domain, history, model, rng)
        return _best(pool, model) if pool.params else fresh_draw(domain, history, rng)

    def _spread(self, domain: KnobDomain, history: History, rng: np.random.Generator) -> Params:
        """Return an allowed network at the next of evenly spread costs, unlike those tried."""
        draws = [fresh_draw(domain, history, rng) for _ in range(START_DRAWS)]
        tried = [*history.done, *history.pending, *history.failed, *(p for p, _, _ in history.stopped)]
        if (costs := self._problem.costs) is not None:
            estimated = costs.estimate(draws)
            limits = np.array([np.inf if c.limit is None else c.limit for c in costs.columns])
            allowed = np.flatnonzero(~np.isnan(estimated).any(1) & (estimated <= limits).all(1))
            if len(allowed):
                logs = np.log(np.maximum(estimated[allowed, 0], 1e-12))
                target = logs.min() + _place(len(tried), self._start) * np.ptp(logs)
                order = np.argsort(np.abs(logs - target), kind="stable")
                draws = [draws[allowed[i]] for i in order[:START_NEAREST]]
        if not tried:
            return draws[0]
        distances = cdist(domain.encode(draws), domain.encode(tried)).min(1)
        return draws[int(distances.argmax())]


def _place(number: int, count: int) -> float:
    """Return where in the range of costs the next of the first networks lies, 0 to 1: all places in mixed order."""
    return float(np.random.default_rng(count).permutation(np.linspace(0, 1, count))[number % count])


def _pool(domain: KnobDomain, history: History, model: SurrogateModel, rng: np.random.Generator) -> Batch:
    """Return networks that were not tried: random ones, neighbours of the front, and their offspring."""
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
    pool = fresh([*(domain.draw(rng) for _ in range(RANDOM_CANDIDATES)), *chosen])
    losses = model.losses(pool)
    for _ in range(GENERATIONS if pool.params else 0):
        # One generation of NSGA-II on what is expected (Deb et al., IEEE TEC 2002): the best ranks have children.
        parents = np.argsort(moocore.pareto_rank(losses), kind="stable")[:PARENTS]
        children = []
        for a, b in parents[rng.integers(len(parents), size=(CHILDREN, 2))]:
            child = domain.crossed(pool.params[a], pool.params[b], rng)
            children.append(domain.mutated(child, rng) if rng.random() < 0.5 else child)
        born = fresh(children)
        pool, losses = pool + born, np.vstack([losses, model.losses(born)])
    return pool


def _best(pool: Batch, model: SurrogateModel) -> Params:
    """Return the largest improvement after the costs of the most promising are counted exactly."""
    gains = model.improvement(pool)
    if not (gains > 0).any():  # nothing is expected to improve: learn where the model knows least
        gains = model.uncertainty(pool)
    order = np.argsort(-gains, kind="stable")
    for at in range(0, min(len(order), FINALISTS * ROUNDS), FINALISTS):
        finalists = model.batch([pool.params[i] for i in order[at : at + FINALISTS]], counted=True)
        if finalists.params:
            return finalists.params[int(model.improvement(finalists).argmax())]
    return pool.params[int(order[0])]
