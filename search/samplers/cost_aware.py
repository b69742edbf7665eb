"""The default: a model of accuracy alone, since all costs are known before training.

A Gaussian process over the knobs and the logarithms of the known costs predicts accuracy; the next network is
the one with the largest expected gain of hypervolume, in which the costs are certain. What cannot be built, or
breaks a limit on a known cost, is never proposed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import moocore
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from paredown.search.samplers.beliefs import Beliefs, Tunings
from paredown.search.samplers.domain import Domain
from paredown.search.samplers.history import History
from paredown.search.samplers.proposing import ProposingSampler, fresh_draw
from paredown.search.samplers.sampler import Params, Problem

LEAST_DONE = 3
"""Below so many finished trials there is nothing to model."""
MOST_START = 12
"""So many first networks at most are spread over the costs; in a short study a quarter of the trials."""
START_DRAWS, NEAR = 256, 8
"""A first network is the one most unlike those tried among so many nearest to the wanted cost, of so many draws."""
DRAWS, NEIGHBOURS, CHILDREN, GENERATIONS = 400, 400, 120, 3
"""Candidates of one proposal: random ones, neighbours of the front, children of each generation."""
FINALISTS, ROUNDS = 8, 6
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
        self._tunings: Tunings = {}
        self._start = max(LEAST_DONE, min(MOST_START, self._problem.trials // 4))

    def propose(self, domain: Domain, history: History, rng: np.random.Generator) -> Params:
        """Return the knobs of the next network."""
        if len(history.seen) < self._start or len(history.done) < LEAST_DONE:
            return self._spread(domain, history, rng)
        beliefs = Beliefs(domain, history, self._problem.costs, self._tunings)
        pool = _pool(domain, history, beliefs, rng)
        return self._best(pool, beliefs, history) if pool else fresh_draw(domain, history, rng)

    def _best(self, pool: Sequence[Params], beliefs: Beliefs, history: History) -> Params:
        """Return the largest improvement after counting the costs of the most promising exactly."""
        gains = beliefs.improvement(pool)
        if not (gains > 0).any():  # nothing is expected to improve: learn where the model knows least
            gains = beliefs.uncertainty(pool)
        order = np.argsort(-gains, kind="stable")
        for at in range(0, FINALISTS * ROUNDS, FINALISTS):
            finalists = [pool[i] for i in order[at : at + FINALISTS]]
            if not finalists:
                break
            counted = beliefs.improvement(finalists, counted=True)
            if np.isfinite(counted).any():
                return finalists[int(counted.argmax())]
        return pool[int(order[0])]

    def _spread(self, domain: Domain, history: History, rng: np.random.Generator) -> Params:
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
                draws = [draws[allowed[i]] for i in order[:NEAR]]
        if not tried:
            return draws[0]
        distances = cdist(domain.encode(draws), domain.encode(tried)).min(1)
        return draws[int(distances.argmax())]


def _place(number: int, count: int) -> float:
    """Return where in the range of costs the next of the first networks lies, 0 to 1: all places in mixed order."""
    return float(np.random.default_rng(count).permutation(np.linspace(0, 1, count))[number % count])


def _pool(domain: Domain, history: History, beliefs: Beliefs, rng: np.random.Generator) -> list[Params]:
    """Return networks that were not tried: random ones, neighbours of the front, and their offspring."""
    found: dict[tuple[Any, ...], Params] = {}

    def add(params: Mapping[str, Any]) -> None:
        key = domain.key(params)
        if key not in history.seen:
            found.setdefault(key, params)

    for _ in range(DRAWS):
        add(domain.draw(rng))
    near = [other for params in beliefs.best for other in domain.neighbours(params, rng)]
    for i in rng.permutation(len(near))[:NEIGHBOURS]:
        add(near[i])
    for _ in range(GENERATIONS if found else 0):
        parents = _fittest(list(found.values()), beliefs)
        for _ in range(CHILDREN):
            a, b = rng.integers(len(parents), size=2)
            child = domain.crossed(parents[a], parents[b], rng)
            add(domain.mutated(child, rng) if rng.random() < 0.5 else child)
    return list(found.values())


def _fittest(params: list[Params], beliefs: Beliefs, most: int = 40) -> list[Params]:
    """Return those with the best expected objectives, rank by rank.

    Source:
        Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, IEEE TEC 2002, section III.
    """
    losses: NDArray[np.float64] = beliefs.losses(params)
    finite = np.flatnonzero(np.isfinite(losses).all(1))
    if not len(finite):
        return params
    ranks = moocore.pareto_rank(losses[finite])
    return [params[i] for i in finite[np.argsort(ranks, kind="stable")[:most]]]
