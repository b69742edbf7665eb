"""Bayesian optimisation of BoTorch: it models every objective and maximises noisy expected hypervolume improvement.

Source:
    Daulton, Balandat, Bakshy, Parallel Bayesian Optimization of Multiple Noisy Objectives with Expected Hypervolume
    Improvement, NeurIPS 2021; Ament et al., Unexpected Improvements to Expected Improvement, NeurIPS 2023.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.samplers import BaseSampler

from paredown.search.bench.competitors.asking import AskingSampler
from paredown.search.samplers.sampler import Params, Problem

CANDIDATES = 512
"""Number of random networks among which the acquisition function chooses."""
MAX_ITERATIONS = 100
"""Maximum number of iterations of each fit; the default takes seconds on noise-free objectives, such as parameters."""


class BotorchQLogNEHVI(AskingSampler):
    """One Gaussian process per objective on the one-hot knobs; it proposes the best of random unseen networks."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self._rng = np.random.default_rng(problem.seed)
        self._seen: set[tuple[Any, ...]] = set()
        self._done: list[Params] = []
        self._losses: list[NDArray[np.float64]] = []
        self._start = max(5, min(2 * (len(self.domain.names) + 1), problem.trials // 5))

    def ask(self) -> Params:
        """Return the candidate with the largest acquisition value."""
        candidates = self._candidates()
        if len(self._done) < self._start:
            return candidates[0]
        return candidates[self._best(candidates)]

    def tell(self, params: Params, losses: NDArray[np.float64] | None) -> None:
        """Record the losses; the model ignores networks that failed."""
        self._seen.add(self.domain.key(params))
        if losses is not None:
            self._done.append(params)
            self._losses.append(losses)

    def _candidates(self) -> Sequence[Params]:
        drawn = [self.domain.draw(self._rng) for _ in range(CANDIDATES)]
        fresh = [params for params in drawn if self.domain.key(params) not in self._seen]
        return fresh or drawn

    def _best(self, candidates: Sequence[Params]) -> int:
        import torch
        from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import ModelListGP, SingleTaskGP
        from botorch.sampling.normal import SobolQMCNormalSampler
        from botorch.utils.multi_objective.hypervolume import infer_reference_point
        from gpytorch.mlls import SumMarginalLogLikelihood

        torch.manual_seed(self.problem.seed)
        x = torch.from_numpy(self.domain.encode(self._done))
        y = -torch.from_numpy(np.array(self._losses))
        scaled = (y - y.mean(0)) / y.std(0).clamp_min(1e-9)
        models = [SingleTaskGP(x, scaled[:, i : i + 1], outcome_transform=None) for i in range(self.goals)]
        model = ModelListGP(*models)
        likelihood = SumMarginalLogLikelihood(model.likelihood, model)
        fit_gpytorch_mll(likelihood, optimizer_kwargs={"options": {"maxiter": MAX_ITERATIONS}})
        acquisition = qLogNoisyExpectedHypervolumeImprovement(
            model=model,
            ref_point=infer_reference_point(scaled),
            X_baseline=x,
            sampler=SobolQMCNormalSampler(torch.Size([64]), seed=self.problem.seed),
            prune_baseline=True,
        )
        with torch.no_grad():
            values = acquisition(torch.from_numpy(self.domain.encode(candidates)).unsqueeze(1))
        return int(values.argmax())


def make_botorch_qlognehvi(problem: Problem) -> BaseSampler:
    """Return BoTorch's qLogNEHVI over random candidates, in the usual configuration."""
    return BotorchQLogNEHVI(problem)
