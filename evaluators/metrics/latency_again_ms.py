"""Latency of a model of the final front, measured once more when the search has ended, side by side with the others.

No trial measures it: `paredown.search.front_latency` does, in one session, and keeps the trial's own value beside it.
"""

from paredown.evaluators.metrics.latency_ms import FLOOR_MS
from paredown.evaluators.metrics.measurement import Metric

METRIC = Metric("latency_again_ms", "ms", "measured", untrained_tolerance=None, floor=FLOOR_MS)
