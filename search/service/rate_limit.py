"""Limits how often something may happen, as a bucket of permissions that fills up with time."""

import threading
import time
from collections import OrderedDict

KEPT = 10_000
"""Number of names that are remembered; the one that asked longest ago is forgotten first."""


class RateLimit:
    """Counts by name.

    Args:
        per_s: Permissions that are added each second.
        burst: Maximum number of permissions.
    """

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s, self._burst = per_s, burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, name: str) -> bool:
        """Take a permission; return whether there was one."""
        with self._lock:
            now, left = time.monotonic(), self._now(name)
            self._left[name] = (now, left - 1 if left >= 1 else left)
            self._left.move_to_end(name)
            if len(self._left) > KEPT:
                self._left.popitem(last=False)
            return left >= 1

    def _now(self, name: str) -> float:
        since, left = self._left.get(name, (time.monotonic(), self._burst))
        return min(self._burst, left + (time.monotonic() - since) * self._per_s)
