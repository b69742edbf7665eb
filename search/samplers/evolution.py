"""Aging evolution: it changes one knob of the best of a few recent networks, and forgets old networks.

With several objectives, the lower rank wins a tournament, then the larger crowding distance. While no trial keeps
every constraint, the one that breaks them least wins.

Source:
    Real et al., Regularized Evolution for Image Classifier Architecture Search, AAAI 2019, algorithm 1.
    Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, IEEE TEC 2002, sections III and VI.
"""

import numpy as np
from optuna.samplers import BaseSampler

from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.history import History
from paredown.search.samplers.proposing import TRIES, ProposingSampler, fresh_draw
from paredown.search.samplers.ranking import crowding_order
from paredown.search.samplers.sampler import Params, Problem

TRIES_OF_A_WINNER = 20
"""Number of changes of one winner that are tried before the next tournament."""


def population_size(trials: int) -> int:
    """Return the size of the population: a quarter of the study's trials, 8 to 100.

    Real et al. keep a population of 100 over 20,000 trials; a study of a few hundred must get past its random start.
    """
    return min(100, max(8, trials // 4))


def tournament_size(population: int) -> int:
    """Return the number of networks in a tournament: half of the population.

    The paper draws a quarter; a study with a hundredth of its trials needs a stronger selection pressure: half of the
    population gains 0.2 to 0.8 hypervolume, of 10, on ZDT1 over 8 knobs at 40 to 200 trials and 8 seeds.
    """
    return max(2, population // 2)


class EvolutionSampler(ProposingSampler):
    """Aging evolution; the first `population_size` trials are random."""

    def propose(self, domain: KnobDomain, history: History, rng: np.random.Generator) -> Params:
        """Return a network that differs in one knob from the winner of a tournament."""
        size = population_size(self._problem.trials)
        if len(history.finished) < size:
            return fresh_draw(domain, history, rng)
        for _ in range(TRIES // TRIES_OF_A_WINNER):
            winner = _winner(history, size, rng)
            if winner is None:
                break
            for _ in range(TRIES_OF_A_WINNER):
                child = domain.redrawn(winner, rng)
                if domain.key(child) not in history.seen:
                    return child
        return fresh_draw(domain, history, rng)


def _winner(history: History, size: int, rng: np.random.Generator) -> Params | None:
    alive = np.flatnonzero(history.feasible)[-size:]
    if len(alive):
        order = crowding_order(history.losses[alive])
        # Ranked among the whole population: the ranks of the few drawn networks alone would hardly differ.
        drawn = rng.choice(len(alive), min(tournament_size(size), len(alive)), replace=False)
        return history.done[int(alive[order[drawn.min()]])]
    judged = history.constraints[-size:]
    if not judged:
        return None
    count = min(tournament_size(size), len(judged))
    drawn_ones = [judged[int(i)] for i in rng.choice(len(judged), count, replace=False)]
    return min(drawn_ones, key=lambda one: sum(max(0.0, v) for v in one[1].values()))[0]


def make_evolution(problem: Problem) -> BaseSampler:
    """Return aging evolution with a population for the problem's trials."""
    return EvolutionSampler(problem)
