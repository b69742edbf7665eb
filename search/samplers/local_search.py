"""Pareto local search: it proposes untried networks one knob away from the present front.

The member of the front with the fewest tried neighbours goes first, so that the whole front moves.

Source:
    Paquete, Chiarandini, Stützle, Pareto Local Optimum Sets in the Biobjective Traveling Salesman Problem: An
    Experimental Study, in Metaheuristics for Multiobjective Optimisation, Springer 2004, section 3.
"""

import numpy as np
from numpy.typing import NDArray
from optuna.samplers import BaseSampler

from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.history import History
from paredown.search.samplers.proposing import ProposingSampler, fresh_draw
from paredown.search.samplers.ranking import ranks
from paredown.search.samplers.sampler import Params, Problem


def start_size(trials: int) -> int:
    """Return how many trials are random before the search turns local: an eighth, 3 to 10."""
    return min(10, max(3, trials // 8))


class LocalSearchSampler(ProposingSampler):
    """Pareto local search.

    Args:
        problem: The problem that the sampler is made for.
        start: Number of random trials at the beginning; None for `start_size`.
    """

    def __init__(self, problem: Problem | None = None, start: int | None = None) -> None:
        super().__init__(problem)
        self._start = start_size(self._problem.trials) if start is None else start

    def propose(self, domain: KnobDomain, history: History, rng: np.random.Generator) -> Params:
        """Return an untried neighbour of the front; a random network where there is none."""
        if len(history.finished) < self._start:
            return fresh_draw(domain, history, rng)
        members = _front(history)
        # Shuffled first: among members with equally many tried neighbours, the seed decides and not their age.
        members = [members[i] for i in rng.permutation(len(members))]
        tried = _tried_neighbours(domain, history, members)
        for i in np.argsort(tried, kind="stable").tolist():
            neighbours = domain.neighbours(members[i], rng)
            order = rng.permutation(len(neighbours))
            untried = (neighbours[int(j)] for j in order if domain.key(neighbours[int(j)]) not in history.seen)
            if (found := next(untried, None)) is not None:
                return found
        return fresh_draw(domain, history, rng)


def _front(history: History) -> list[Params]:
    """Return the non-dominated networks; while no trial keeps every constraint, those that break them least."""
    feasible = np.flatnonzero(history.feasible)
    if len(feasible):
        return [history.done[i] for i in feasible[ranks(history.losses[feasible]) == 0]]
    violations = [sum(max(0.0, v) for v in values.values()) for _, values in history.constraints]
    return [params for (params, _), v in zip(history.constraints, violations, strict=True) if v == min(violations)]


def _tried_neighbours(domain: KnobDomain, history: History, members: list[Params]) -> NDArray[np.int64]:
    """Return, for each member, the number of tried networks that differ from it in one knob."""
    keys = [*history.seen, *(domain.key(member) for member in members)]
    codes = np.empty((len(keys), len(domain.names)), dtype=np.int64)
    for column, values in enumerate(zip(*keys, strict=True)):
        numbers: dict[object, int] = {}
        codes[:, column] = [numbers.setdefault(value, len(numbers)) for value in values]
    tried, own = codes[: len(history.seen)], codes[len(history.seen) :]
    return np.array([np.count_nonzero((tried != one).sum(axis=1) == 1) for one in own], dtype=np.int64)


def make_local_search(problem: Problem) -> BaseSampler:
    """Return Pareto local search; the first eighth of the trials, 3 to 10 of them, are random."""
    return LocalSearchSampler(problem)
