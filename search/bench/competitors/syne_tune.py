"""Multi-objective searchers of Syne Tune.

Source:
    Salinas et al., Syne Tune: A Library for Large Scale Hyperparameter Tuning, AutoML 2022.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.samplers import BaseSampler

from paredown.search.bench.competitors.asking import AskingSampler, Worst
from paredown.search.samplers.sampler import Params, Problem


class SyneTune(AskingSampler):
    """Asks one of Syne Tune's searchers.

    A knob with an order is searched as `finrange`-like index, one without as a choice.
    """

    def __init__(self, problem: Problem, started: Callable[[dict[str, Any], Problem], Any]) -> None:
        super().__init__(problem)
        from syne_tune.config_space import choice, randint

        self._levels = {name: self.domain.levels(name) for name in self.domain.names}
        ordered = {n for n, d in problem.distributions.items() if not hasattr(d, "choices")}
        space = {
            name: randint(0, len(levels) - 1) if name in ordered else choice(list(range(len(levels))))
            for name, levels in self._levels.items()
        }
        self._searcher = started(space, problem)
        self._config: dict[str, Any] = {}
        self._number = 0
        self._worst = Worst()

    def ask(self) -> Params:
        """Return what the searcher suggests."""
        self._config = self._searcher.suggest()
        return {name: self._levels[name][int(at)] for name, at in self._config.items()}

    def tell(self, params: Params, losses: NDArray[np.float64] | None) -> None:
        """Tell the searcher."""
        metrics = self._worst.filled(losses, self.goals).tolist()
        self._searcher.on_trial_complete(self._number, self._config, metrics)
        self._number += 1


def make_syne_tune_morea(problem: Problem) -> BaseSampler:
    """Return regularised evolution with non-dominated sorting, its population a fifth of the trials."""

    def started(space: dict[str, Any], problem: Problem) -> Any:
        from syne_tune.optimizer.schedulers.multiobjective import MultiObjectiveRegularizedEvolution

        population = min(100, max(8, problem.trials // 5))
        return MultiObjectiveRegularizedEvolution(space, population_size=population, random_seed=problem.seed)

    return SyneTune(problem, started)


def make_syne_tune_ehvi(problem: Problem) -> BaseSampler:
    """Return expected hypervolume improvement with BoTorch's Gaussian processes."""

    def started(space: dict[str, Any], problem: Problem) -> Any:
        from syne_tune.optimizer.schedulers.multiobjective.expected_hyper_volume_improvement import (
            ExpectedHyperVolumeImprovement,
        )

        return ExpectedHyperVolumeImprovement(space, random_seed=problem.seed)

    return SyneTune(problem, started)
