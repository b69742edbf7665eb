"""The scale on which costs are compared: logarithmic where they span decades."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MIN_LOG_SPAN = 100.0
"""Factor between the lowest and the highest cost from which on the scale is logarithmic."""


@dataclass(frozen=True)
class CostScale:
    """A scale for each cost.

    Attributes:
        is_log: Whether the scale of each cost is logarithmic.
    """

    is_log: NDArray[np.bool_]

    @classmethod
    def of(cls, costs: Array) -> "CostScale":
        """Return the scales for the given costs, `n x k`; linear ones where there are none."""
        if not len(costs):
            return cls(np.zeros(costs.shape[1], dtype=bool))
        lowest, highest = costs.min(0), costs.max(0)
        return cls((lowest > 0) & (highest > MIN_LOG_SPAN * lowest))

    def scaled(self, table: Array) -> Array:
        """Return a table with its last columns, which are the costs, on their scales."""
        scaled = table.copy()
        at = np.flatnonzero(self.is_log) + table.shape[1] - len(self.is_log)
        scaled[:, at] = np.log(np.maximum(table[:, at], 1e-12))
        return scaled
