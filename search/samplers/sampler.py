"""What a sampler entry is, and what it may know of the search it serves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler

Params = Mapping[str, Any]
"""Value of each knob, as Optuna's trials hold them."""


@dataclass(frozen=True)
class Cost:
    """A positive quantity of a network that is known before it is trained.

    Attributes:
        name: As in the table of results, e.g. `macs`.
        objective: Which objective of the study it is, counted from 0; None where it only informs the model.
        limit: The largest value allowed; None for no limit.
    """

    name: str
    objective: int | None = None
    limit: float | None = None


class Costs(Protocol):
    """Tells costs without training.

    Attributes:
        columns: What is told, in order.
    """

    columns: tuple[Cost, ...]

    def estimate(self, params: Sequence[Params]) -> NDArray[np.float64]:
        """Return `n x k` costs of many networks, fast and perhaps predicted; a row of NaN where there is none."""

    def count(self, params: Sequence[Params]) -> NDArray[np.float64]:
        """Return `n x k` costs of a few networks, exactly; a row of NaN for a network that cannot be built."""


@dataclass(frozen=True)
class Problem:
    """What a sampler is made for.

    Attributes:
        seed: Of all its draws.
        trials: Of the whole study.
        n_told: How many trials the study has already: a sampler that counts its own draws begins at another seed.
        distributions: Every knob that leaves a choice; empty: learned from the study's trials.
        costs: What is known before training; None: nothing.
        canonical: Maps two descriptions of one network to one.
    """

    seed: int
    trials: int
    distributions: Mapping[str, BaseDistribution] = field(default_factory=dict)
    costs: Costs | None = None
    canonical: Callable[[Params], Params] = dict
    n_told: int = 0


MakeSampler = Callable[[Problem], BaseSampler]
"""Makes the sampler of a problem."""
