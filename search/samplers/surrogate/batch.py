"""Networks that a surrogate model predicts, with what it needs to know of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paredown.search.samplers.sampler import Params

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Batch:
    """Networks that may be built.

    Attributes:
        params: Knobs of each network.
        costs: Costs of each network, `n x k`.
        encoded: Inputs of the models, `n x d`.
    """

    params: list[Params]
    costs: Array
    encoded: Array

    def __add__(self, other: "Batch") -> "Batch":
        costs, encoded = np.vstack([self.costs, other.costs]), np.vstack([self.encoded, other.encoded])
        return Batch([*self.params, *other.params], costs, encoded)
