"""Multi-objective regularised evolution of Syne Tune, with each knob encoded as an index.

Its other multi-objective searcher, `EHVI`, is left out: 0.16 mixes float and double, which BoTorch 0.18 refuses.

Source:
    Salinas et al., Syne Tune: A Library for Large Scale Hyperparameter Tuning, AutoML 2022.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler

from paredown.search.bench.competitors.asking import AskingSampler, Worst
from paredown.search.samplers.sampler import Params, Problem


class SyneTuneMorea(AskingSampler):
    """Uses the searcher without Syne Tune's scheduler."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        from syne_tune.config_space import choice, randint
        from syne_tune.optimizer.schedulers.multiobjective import MultiObjectiveRegularizedEvolution

        self._levels = {name: self.domain.levels(name) for name in self.domain.names}
        space = {
            name: choice(list(range(len(levels))))
            if isinstance(problem.distributions[name], CategoricalDistribution)
            else randint(0, len(levels) - 1)
            for name, levels in self._levels.items()
        }
        population = min(50, max(8, problem.trials // 5))
        self._searcher = MultiObjectiveRegularizedEvolution(
            space, population_size=population, sample_size=max(2, population // 4), random_seed=problem.seed
        )
        self._config: dict[str, Any] = {}
        self._number = 0
        self._worst = Worst()

    def ask(self) -> Params:
        """Return the suggestion of the searcher."""
        np.random.seed([self.problem.seed, self._number])  # it draws its first population from NumPy's global state
        self._config = self._searcher.suggest()
        return {name: self._levels[name][int(at)] for name, at in self._config.items()}

    def tell(self, params: Params, losses: NDArray[np.float64] | None) -> None:
        """Pass the losses to the searcher."""
        metrics = self._worst.filled(losses, self.goals).tolist()
        self._searcher.on_trial_complete(self._number, self._config, metrics)
        self._number += 1


def make_syne_tune_morea(problem: Problem) -> BaseSampler:
    """Return Syne Tune's regularised evolution with the population size of `nsga2`."""
    return SyneTuneMorea(problem)
