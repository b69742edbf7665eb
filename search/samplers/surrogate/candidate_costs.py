"""The costs of candidates before training: counted on the untrained network, or estimated from those counted."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.build import COUNTED, count_costs, shaping
from paredown.evaluators.metrics.measurement import Objective, optimised_metrics, resolved_objectives
from paredown.evaluators.tasks.task import Task
from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.sampler import Cost, Params
from paredown.search.samplers.surrogate.described import DescribedCandidates
from paredown.spaces.candidate import Candidate
from paredown.spaces.space import SearchSpace
from paredown.studies.front import Model

if TYPE_CHECKING:
    from paredown.search.samplers.surrogate.gaussian_process import Predict

Array = NDArray[np.float64]

FIRST_COUNTED = 32
"""Number of random candidates that are counted before the first estimate, beside those known by then."""
REFIT_FACTOR = 1.2
"""Factor by which the number of counted candidates grows until the model of costs is fitted again."""
MAX_FITTED = 400
"""Maximum number of counted candidates, the latest ones, on which the model of costs is fitted."""


class CandidateCosts:
    """Costs of a study's candidates; see `paredown.search.samplers.sampler.Costs`.

    To count builds and compresses the untrained network, which takes about 40 ms, once for all candidates that differ
    only in what leaves the shapes alone; to estimate asks a Gaussian process over the logarithms of the counted costs.

    Args:
        space: The joint space.
        domain: Its knobs as the sampler sees them.
        task: The task, which gives the input and the classes of the networks.
        objectives: Objectives of the study, with their limits.
        known: Finished trials, whose costs were counted already.
        described: Candidates by their knobs; None to make them here.

    Attributes:
        columns: The costs, in order.
        described: Candidates by their knobs.
    """

    def __init__(
        self,
        space: SearchSpace,
        domain: KnobDomain,
        task: Task,
        objectives: Sequence[Objective],
        known: Sequence[Model] = (),
        described: DescribedCandidates | None = None,
    ) -> None:
        self._space, self._domain, self._task = space, domain, task
        self.described = described or DescribedCandidates(space)
        self._counts: dict[str, Array] = {}
        self._beside: dict[str, dict[str, float]] = {}
        self._of_shapes: dict[str, dict[str, float] | None] = {}
        self._digests: dict[tuple[tuple[str, Any], ...], str] = {}
        self._candidates: dict[str, Candidate] = {}
        self._predict: list[Callable[[Array], Array]] = []
        self._fitted = 0
        for model in known:
            self.learn(model.candidate, {name: model[name] for name in COUNTED})
        if any(o.relative is not None and o.metric.name in COUNTED for o in objectives):
            self._counted(space.baseline)
            objectives = resolved_objectives(objectives, self.counted(space.baseline))
        self.columns = tuple(_cost(name, objectives) for name in COUNTED)

    def learn(self, candidate: Candidate, costs: Mapping[str, float]) -> None:
        """Store costs by metric that were counted elsewhere, unless one of them is missing."""
        if costs.keys() >= set(COUNTED):
            self._keep(candidate, costs)
            self._beside[candidate.digest] = {n: v for n, v in costs.items() if n not in COUNTED}

    def counted(self, candidate: Candidate) -> dict[str, float]:
        """Return the known costs of an untrained candidate by metric; empty where there are none."""
        costs = self._counts.get(candidate.digest)
        if costs is None or not np.isfinite(costs).all():
            return {}
        return dict(zip(COUNTED, costs.tolist(), strict=True)) | self._beside.get(candidate.digest, {})

    def count(self, params: Sequence[Params]) -> Array:
        """Return `n x k` exact costs; candidates that were counted before take no time."""
        return np.array([self._counted_of(one) for one in params]).reshape(len(params), len(self.columns))

    def estimate(self, params: Sequence[Params]) -> Array:
        """Return `n x k` predicted costs."""
        if not self._fitted:
            for seed in range(FIRST_COUNTED):
                self._counted(self._space.draw(seed))
        if len(self._counts) >= REFIT_FACTOR * self._fitted:
            self._fit()
        encoded = self._domain.encode(params)
        return np.column_stack([predict(encoded) for predict in self._predict])

    def _counted_of(self, params: Params) -> Array:
        # The same thousands of networks are asked for with each proposal: their digests are computed once.
        key = tuple(params.items())
        if (digest := self._digests.get(key)) is None:
            candidate = self.described.candidate(params)
            self._counted(candidate)
            digest = self._digests[key] = candidate.digest
        return self._counts[digest]

    def _counted(self, candidate: Candidate) -> Array:
        if (digest := candidate.digest) not in self._counts:
            if (shapes := shaping(candidate).digest) not in self._of_shapes:
                self._of_shapes[shapes] = count_costs(candidate, self._task)
            self._keep(candidate, self._of_shapes[shapes])
        return self._counts[digest]

    def _keep(self, candidate: Candidate, costs: Mapping[str, float] | None) -> None:
        digest = candidate.digest
        self._candidates[digest] = candidate
        self._counts[digest] = np.array([np.nan if costs is None else costs[name] for name in COUNTED])

    def _fit(self) -> None:
        self._fitted = len(self._counts)
        possible = [digest for digest, costs in self._counts.items() if np.isfinite(costs).all()][-MAX_FITTED:]
        if not possible:  # no candidate could be built so far: all are taken to cost the same
            self._predict = [lambda new: np.ones(len(new))] * len(COUNTED)
            return
        encoded = self._domain.encode([self._space.values(self._candidates[digest]) for digest in possible])
        logs = np.log(np.maximum(np.array([self._counts[digest] for digest in possible]), 1e-12))
        self._predict = [_model(encoded, logs[:, i], self._domain.groups()) for i in range(len(COUNTED))]


def _cost(name: str, objectives: Sequence[Objective]) -> Cost:
    optimised = [metric.name for metric in optimised_metrics(objectives)]
    limits = {o.metric.name: o.limit for o in objectives}
    return Cost(name, optimised.index(name) if name in optimised else None, limits.get(name))


def _model(encoded: Array, logs: Array, groups: list[int]) -> Callable[[Array], Array]:
    from paredown.search.samplers.surrogate.gaussian_process import fit, tune

    centre, scale = logs.mean(), logs.std() + 1e-9
    scores = (logs - centre) / scale
    rows = slice(0, 128)
    predict: Predict = fit(encoded, scores, tune(encoded[rows], scores[rows], tuple(groups)))
    return lambda new: np.exp(predict(new)[0] * scale + centre)
