"""NSGA-II of pymoo, with each knob encoded as an integer.

Source:
    Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, IEEE TEC 2002;
    Blank, Deb, pymoo: Multi-Objective Optimization in Python, IEEE Access 2020.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.samplers import BaseSampler

from paredown.search.bench.competitors.asking import AskingSampler, Worst
from paredown.search.samplers.sampler import Params, Problem


class PymooNSGA2(AskingSampler):
    """Asks pymoo for a generation, proposes its networks one by one, and returns the results when all are known."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self._levels = [self.domain.levels(name) for name in self.domain.names]
        self._algorithm: Any = None
        self._generation: Any = None
        self._results: list[NDArray[np.float64]] = []
        self._worst = Worst()

    def ask(self) -> Params:
        """Return the next network of the generation."""
        if self._algorithm is None:
            self._algorithm = self._started()
        if self._generation is None:
            self._generation = self._algorithm.ask()
        knobs = self._generation[len(self._results)].X
        return {n: levels[int(at)] for n, levels, at in zip(self.domain.names, self._levels, knobs, strict=True)}

    def tell(self, params: Params, losses: NDArray[np.float64] | None) -> None:
        """Collect the losses until the generation is complete."""
        self._results.append(self._worst.filled(losses, self.goals))
        if len(self._results) == len(self._generation):
            self._generation.set("F", np.array(self._results))
            self._generation.apply(lambda one: one.evaluated.add("F"))
            self._algorithm.tell(infills=self._generation)
            self._generation, self._results = None, []

    def _started(self) -> Any:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.problem import Problem as Pymoo
        from pymoo.operators.crossover.sbx import SBX
        from pymoo.operators.mutation.pm import PM
        from pymoo.operators.repair.rounding import RoundingRepair
        from pymoo.operators.sampling.rnd import IntegerRandomSampling

        algorithm = NSGA2(
            pop_size=min(50, max(8, self.problem.trials // 5)),
            sampling=IntegerRandomSampling(),
            crossover=SBX(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
            mutation=PM(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
            eliminate_duplicates=True,
        )
        highest = np.array([len(levels) - 1 for levels in self._levels])
        space = Pymoo(n_var=len(highest), n_obj=self.goals, xl=np.zeros_like(highest), xu=highest, vtype=int)
        algorithm.setup(space, termination=("n_gen", 10**6), seed=self.problem.seed, verbose=False)
        return algorithm


def make_pymoo_nsga2(problem: Problem) -> BaseSampler:
    """Return pymoo's NSGA-II with its documented settings for integers and the population size of `nsga2`."""
    return PymooNSGA2(problem)
