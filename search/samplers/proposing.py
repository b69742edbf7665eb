"""The frame of our own samplers: they map knobs and history to knobs, and hold no state of their own."""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.history import History, read_history, union_space
from paredown.search.samplers.sampler import Params, Problem
from paredown.studies.collector import collector_paused

TRIES = 200
"""Maximum number of draws that look for an untried network; after them, a known network is proposed."""


class ProposingSampler(BaseSampler, ABC):
    """An Optuna sampler that proposes all knobs together from the study's history.

    Each draw depends only on the seed, the number of the trial and the study: a study that is opened again continues
    as if it had not been closed, and threads and processes may share the sampler.
    """

    def __init__(self, problem: Problem | None = None) -> None:
        self._problem = problem or Problem(secrets.randbits(31), 100)

    @abstractmethod
    def propose(self, domain: KnobDomain, history: History, rng: np.random.Generator) -> Params:
        """Return the knobs of the next network.

        Args:
            domain: The knobs, at least one.
            history: The trials of the study so far.
            rng: Random generator of every draw.
        """

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the knobs of the problem, or those of the study's trials where the problem names none."""
        known = {name: d for name, d in self._problem.distributions.items() if not d.single()}
        return known or union_space(study)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the proposed knobs."""
        if not search_space:
            return {}
        domain = KnobDomain(search_space, self._problem.canonical)
        rng = np.random.default_rng([self._problem.seed, trial.number])
        with collector_paused():
            history = read_history(study, domain, exclude=trial.number)
            return dict(self.propose(domain, history, rng))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a uniform draw of a knob that no trial had before."""
        seed = np.random.SeedSequence([self._problem.seed, trial.number, *param_name.encode()]).generate_state(1)[0]
        return RandomSampler(int(seed)).sample_independent(study, trial, param_name, param_distribution)


def fresh_draw(domain: KnobDomain, history: History, rng: np.random.Generator) -> Mapping[str, Any]:
    """Return a uniform draw that was not tried yet, if one of `TRIES` draws is; otherwise the last draw."""
    for _ in range(TRIES):
        params = domain.draw(rng)
        if domain.key(params) not in history.seen:
            break
    return params
