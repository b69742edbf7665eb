"""The interface between samplers and the search: the problem, and the costs that are known before training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler

Params = Mapping[str, Any]
"""Value of each knob by name, as in Optuna's trials."""


@dataclass(frozen=True)
class Cost:
    """A positive quantity of a network that is known before it is trained.

    Attributes:
        name: Name in the table of results, e.g. `macs`.
        objective: Index of the objective of the study that it is, from 0; None where it only informs the model.
        limit: Largest value allowed; None for no limit.
    """

    name: str
    objective: int | None = None
    limit: float | None = None


class Costs(Protocol):
    """Determines costs without training.

    Attributes:
        columns: The costs, in order.
    """

    columns: tuple[Cost, ...]

    def estimate(self, params: Sequence[Params]) -> NDArray[np.float64]:
        """Return `n x k` costs of many networks, fast and perhaps predicted; a row of NaN where there are none."""

    def count(self, params: Sequence[Params]) -> NDArray[np.float64]:
        """Return `n x k` costs of a few networks, exactly; a row of NaN for a network that cannot be built."""


class Work(Protocol):
    """Predicts how much work it is to evaluate networks."""

    def __call__(self, params: Sequence[Params], trained: Sequence[Params]) -> NDArray[np.float64]:
        """Return the positive work of each network, `n`, in any unit.

        Args:
            params: The networks.
            trained: Networks whose evaluation has begun or ended; what they share with others need not be done again.
        """


def no_work(params: Sequence[Params], trained: Sequence[Params]) -> NDArray[np.float64]:
    """Return the same work for all networks."""
    return np.ones(len(params))


@dataclass(frozen=True)
class Region:
    """What a study accepts of its objectives.

    Attributes:
        losses: Largest acceptable loss, by index of the objective; objectives without a limit are not there.
        constraints: Names under which trials say by how much they break these limits.
        reference: Largest loss that counts towards the hypervolume, by index of the objective; the limits apart.
    """

    losses: Mapping[int, float] = field(default_factory=dict)
    constraints: frozenset[str] = frozenset()
    reference: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Sister:
    """The evaluated networks of another study from which this one starts.

    Attributes:
        params: Knobs of each network, as this study names them.
        losses: Values of the objectives of this study, minimised, `n x m`.
        costs: Costs that are known before training, `n x k`.
    """

    params: Sequence[Params]
    losses: NDArray[np.float64]
    costs: NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """The problem that a sampler is made for.

    Attributes:
        seed: Random seed of all draws.
        trials: Total number of trials of the study.
        distributions: Distribution of every knob that leaves a choice; empty to learn them from the study's trials.
        costs: Costs that are known before training; None where none are.
        canonical: Maps all descriptions of one network to the same one.
        start: Networks that are known to be good, such as the baseline; a search begins near them.
        region: Returns what the study accepts, as far as that is known by then.
        n_told: Number of trials that the study has already; samplers that count their own draws add it to the seed.
        work: Predicts the work of an evaluation.
        sisters: Studies from which this one starts.
    """

    seed: int
    trials: int
    distributions: Mapping[str, BaseDistribution] = field(default_factory=dict)
    costs: Costs | None = None
    canonical: Callable[[Params], Params] = dict
    start: Sequence[Params] = ()
    region: Callable[[], Region] = Region
    n_told: int = 0
    work: Work = no_work
    sisters: Sequence[Sister] = ()


MakeSampler = Callable[[Problem], BaseSampler]
"""Makes the sampler of a problem."""
