"""The landscape of a race: networks whose results are known without training them."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution

from paredown.search.samplers.sampler import Costs, Params


@dataclass(frozen=True)
class Goal:
    """An objective of the race.

    Attributes:
        name: Name in the spec.
        maximise: Whether higher values are better.
        known: Whether samplers may know it before a network is evaluated.
        limit: Worst acceptable value; None for no limit. The reference point then lies at the limit.
    """

    name: str
    maximise: bool = False
    known: bool = False
    limit: float | None = None

    def loss(self, value: float) -> float:
        """Return a value as something to minimise."""
        return -value if self.maximise else value


@dataclass(frozen=True)
class EvaluationOutcome:
    """The outcome of evaluating a proposal.

    Attributes:
        network: Identity of the network, equal for all proposals of it; None where the landscape has no such network.
        values: Values that the sampler observes, in the units of the goals; None where the network fails.
        losses: Losses that the score counts, minimised: those of the mean over several runs, where it is known.
    """

    network: Hashable | None
    values: tuple[float, ...] | None = None
    losses: tuple[float, ...] | None = None


class Landscape(Protocol):
    """Networks with known results."""

    @property
    def name(self) -> str:
        """Name of the landscape, for display."""

    @property
    def goals(self) -> tuple[Goal, ...]:
        """The objectives, in the order of the study."""

    @property
    def distributions(self) -> Mapping[str, BaseDistribution]:
        """Distribution of every knob."""

    @property
    def reference(self) -> NDArray[np.float64]:
        """Losses of the reference point of the hypervolume."""

    @property
    def costs(self) -> Costs | None:
        """Costs that samplers may know before a network is evaluated; None where they may know none."""

    @property
    def complete(self) -> bool:
        """Whether `best_losses` holds the true front; otherwise its hypervolume is a lower bound."""

    def canonical(self, params: Params) -> Params:
        """Return the same knobs for all descriptions of one network."""

    def outcome(self, params: Params) -> EvaluationOutcome:
        """Evaluate a proposal."""

    def best_losses(self) -> NDArray[np.float64]:
        """Return losses that contain the front, as far as it is known."""

    def describe(self) -> dict[str, int]:
        """Return figures for display, e.g. the number of networks."""
