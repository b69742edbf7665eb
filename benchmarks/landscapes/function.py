"""A landscape whose networks are computed when asked for: spaces too large for a table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import moocore
import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution

from paredown.search.bench.landscape import EvaluationOutcome, Goal
from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.sampler import Cost, Params


@dataclass(frozen=True)
class Network:
    """What is computed of a network.

    Attributes:
        values: What the sampler is told; None where the network fails.
        mean: What the score counts, in the same units; of a failing network too.
        costs: What is known before training.
    """

    values: tuple[float, ...] | None
    mean: tuple[float, ...]
    costs: tuple[float, ...]


@dataclass
class FunctionCosts:
    """Costs by function; exact, so that estimates are counts."""

    columns: tuple[Cost, ...]
    compute: Callable[[Params], Network]

    def estimate(self, params: Sequence[Params]) -> NDArray[np.float64]:
        """Return `n x k` costs."""
        return np.array([self.compute(one).costs for one in params]).reshape(len(params), len(self.columns))

    def count(self, params: Sequence[Params]) -> NDArray[np.float64]:
        """Return the same."""
        return self.estimate(params)


@dataclass
class FunctionLandscape:
    """See `Landscape`. Its true front is not known: a long reference run and the race's own runs stand for it.

    Attributes:
        name: For people.
        goals: The objectives.
        distributions: Every knob.
        reference: Losses of the reference point.
        cost_columns: What `Network.costs` holds, in order.
        compute: Evaluates a network; a function of a module, so that other processes find it.
        reference_evaluations: Length of the reference run.
        active: Returns the knobs that count of those that are proposed.
    """

    name: str
    goals: tuple[Goal, ...]
    distributions: Mapping[str, BaseDistribution]
    reference: NDArray[np.float64]
    cost_columns: tuple[Cost, ...]
    compute: Callable[[Params], Network]
    reference_evaluations: int = 20_000
    active: Callable[[Params], Params] = dict
    complete: bool = field(default=False, init=False)
    _best: NDArray[np.float64] | None = field(default=None, init=False)

    @property
    def costs(self) -> FunctionCosts | None:
        """What is known before training."""
        return FunctionCosts(self.cost_columns, self.compute) if self.cost_columns else None

    def canonical(self, params: Params) -> Params:
        """Return the knobs that count."""
        return self.active(params)

    def outcome(self, params: Params) -> EvaluationOutcome:
        """Return what is computed."""
        known = self.active(params)
        network, key = self.compute(params), tuple(known.get(name) for name in self.distributions)
        return EvaluationOutcome(key, network.values, self._losses(network) if network.values is not None else None)

    def best_losses(self) -> NDArray[np.float64]:
        """Return the front of a long run: mutants and crossings of the front so far, by their mean values.

        Source:
            Knowles, Corne, Approximating the Nondominated Front Using the Pareto Archived Evolution Strategy,
            Evolutionary Computation 2000.
        """
        if self._best is None:
            self._best = self._reference_run()
        return self._best

    def describe(self) -> dict[str, int]:
        """Return the length of the reference run and of its front."""
        return {"reference_evaluations": self.reference_evaluations, "on_the_front": len(self.best_losses())}

    def _losses(self, network: Network) -> tuple[float, ...]:
        return tuple(g.loss(v) for g, v in zip(self.goals, network.mean, strict=True))

    def _reference_run(self, batch: int = 500) -> NDArray[np.float64]:
        domain, rng = KnobDomain(self.distributions), np.random.default_rng(0)
        front: list[Params] = []
        losses = np.empty((0, len(self.goals)))
        for _ in range(0, self.reference_evaluations, batch):
            drawn = [self._child(front, domain, rng) for _ in range(batch)]
            computed = [(one, self.compute(one)) for one in drawn]
            good = [(one, network) for one, network in computed if network.values is not None]
            front += [one for one, _ in good]
            losses = np.vstack([losses, *(np.array([self._losses(network)]) for _, network in good)])
            kept = np.flatnonzero(np.asarray(moocore.is_nondominated(losses)))
            front, losses = [front[i] for i in kept], losses[kept]
        return losses

    def _child(self, front: Sequence[Params], domain: KnobDomain, rng: np.random.Generator) -> Params:
        if not front or rng.random() < 0.1:
            return domain.draw(rng)
        parent = front[int(rng.integers(len(front)))]
        if rng.random() < 0.3:
            parent = domain.crossed(parent, front[int(rng.integers(len(front)))], rng)
        return domain.mutated(parent, rng)
