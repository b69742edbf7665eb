"""How much work it is to evaluate candidates, so that a search can spend its time where it gains most."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.build import COUNTED
from paredown.search.samplers.sampler import Params
from paredown.search.samplers.surrogate.candidate_costs import CandidateCosts
from paredown.spaces.candidate import Candidate
from paredown.spaces.space import SearchSpace

Array = NDArray[np.float64]

FIXED = 0.3
"""Work that does not depend on the network, in units of the baseline's training: it is built, exported and measured,
and each of its operations is called however little it computes (measured on the default study when it trained
10 epochs, one thread)."""
MACS = COUNTED.index("macs")


class TrainingWork:
    """Predicts the work of candidates; see `paredown.search.samplers.sampler.Work`.

    Training grows with the multiply-accumulate operations of the network as it is before compression. A network that is
    trained already, since another candidate differs in compression alone, is only fine-tuned.

    Args:
        space: The joint space.
        costs: Costs of its candidates.
        key: Returns what is equal for two candidates that share one trained network.
        finetuning: Share of fine-tuning in the epochs of a compressed candidate.
    """

    def __init__(
        self, space: SearchSpace, costs: CandidateCosts, key: Callable[[Candidate], str], finetuning: float
    ) -> None:
        self._space, self._costs, self._key, self._finetuning = space, costs, key, finetuning
        self._keys: dict[tuple[tuple[str, object], ...], str] = {}

    def __call__(self, params: Sequence[Params], trained: Sequence[Params]) -> Array:
        """Return the work of each candidate, `n`, in units of the baseline's training."""
        known = {self._key_of(one) for one in trained}
        candidate = self._costs.described.candidate
        uncompressed = [self._space.values(candidate(one).uncompressed) for one in params]
        baseline = self._costs.count([self._space.values(self._space.baseline)])[0, MACS]
        share = self._costs.estimate(uncompressed)[:, MACS] / baseline
        epochs = np.array([0.0 if self._key_of(one) in known else 1 - self._finetuning for one in params])
        return np.asarray(FIXED + share * (epochs + self._finetuning))

    def _key_of(self, params: Params) -> str:
        key = tuple(params.items())
        if key not in self._keys:
            self._keys[key] = self._key(self._costs.described.candidate(params))
        return self._keys[key]
