"""What a race runs over: networks whose results are known without training them."""

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
        name: As in the spec.
        maximise: The direction.
        known: Whether samplers may know it before a network is evaluated.
    """

    name: str
    maximise: bool = False
    known: bool = False


@dataclass(frozen=True)
class EvaluationOutcome:
    """What evaluating a proposal comes to.

    Attributes:
        network: Equal for proposals of one network; None for a proposal that is no network of the landscape.
        values: What the sampler is told, in the units of the goals; None where the network fails.
        losses: What the score counts, minimised: of the mean over several runs, where those are known.
    """

    network: Hashable | None
    values: tuple[float, ...] | None = None
    losses: tuple[float, ...] | None = None


class Landscape(Protocol):
    """Networks with known results."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def goals(self) -> tuple[Goal, ...]:
        """The objectives, in the order of the study."""

    @property
    def distributions(self) -> Mapping[str, BaseDistribution]:
        """Every knob."""

    @property
    def reference(self) -> NDArray[np.float64]:
        """Losses of the reference point of the hypervolume."""

    @property
    def costs(self) -> Costs | None:
        """What samplers may know before a network is evaluated; None: nothing."""

    @property
    def complete(self) -> bool:
        """Whether `best_losses` holds the true front; else it is approached from below."""

    def canonical(self, params: Params) -> Params:
        """Return the same knobs for two descriptions of one network."""

    def outcome(self, params: Params) -> EvaluationOutcome:
        """Return what evaluating the proposal comes to."""

    def best_losses(self) -> NDArray[np.float64]:
        """Return losses that hold the front, as far as it is known."""

    def describe(self) -> dict[str, int]:
        """Return figures for people, e.g. how many networks there are."""
