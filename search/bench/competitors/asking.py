"""The frame of outside tools, which propose knobs and receive losses, one network at a time."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.sampler import Params, Problem


class AskingSampler(BaseSampler, ABC):
    """An outside tool as an Optuna sampler.

    It holds the tool's state, so that it serves one study in one process, which is all that a race needs.

    Attributes:
        problem: The problem, with its distributions.
        domain: The knobs of the problem.
        goals: Number of objectives of the study; known from the first proposal on.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.domain = KnobDomain(problem.distributions, problem.canonical)
        self.goals = 0

    @abstractmethod
    def ask(self) -> Params:
        """Return the knobs of the next network."""

    @abstractmethod
    def tell(self, params: Params, losses: NDArray[np.float64] | None) -> None:
        """Receive the result of the network that was proposed last.

        Args:
            params: Knobs of the network.
            losses: Objectives of the network, minimised; None where it failed.
        """

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the knobs of the problem."""
        return dict(self.problem.distributions)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the proposal of the tool."""
        self.goals = len(study.directions)
        return dict(self.ask())

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the only value of a knob that leaves no choice."""
        return RandomSampler(self.problem.seed).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Pass the losses of the trial to the tool."""
        signs = np.array([-1.0 if d == StudyDirection.MAXIMIZE else 1.0 for d in study.directions])
        self.tell(trial.params, None if values is None else signs * np.array(values))


class Worst:
    """Losses of failed networks for tools that need numbers: the worst so far in each objective."""

    def __init__(self) -> None:
        self._worst: NDArray[np.float64] | None = None

    def filled(self, losses: NDArray[np.float64] | None, goals: int) -> NDArray[np.float64]:
        """Return the losses, or the worst ones where the network failed."""
        if losses is None:
            return np.ones(goals) if self._worst is None else self._worst
        self._worst = losses if self._worst is None else np.maximum(self._worst, losses)
        return losses
