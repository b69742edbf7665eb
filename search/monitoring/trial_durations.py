"""How long trials take, and how long those to come will: what the time left of a search follows from."""

import math
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paredown.studies.result import TrialResult

RECENT_TRIALS = 20
"""Number of latest trials from whose durations the time left follows."""
HALF_LIFE_TRIALS = 12
"""Number of trials after which a duration counts half as much: samplers and machines change."""
LARGE_FIRST = {"cost_aware": 3}
"""Sampler to the number of first trials that are larger than most: it begins near the baseline. With any other sampler
these are two, the baseline and the mildest candidate. They count where no others do."""
MIN_DURATIONS = 3
LONGEST = 3.0
"""Multiple of the median as which a longer duration counts: a machine that was suspended says nothing of others."""
TRAINED_SHARE = {"cost_aware": 0.6, "nsga2": 0.7}
"""Sampler to the share of its trials that train a network in the end: the others differ from known ones in compression
alone, and the cache holds the trained network. With any other sampler all do. Few do so among the first trials."""
PRIOR_TRIALS = 20
"""Number of trials as much as which `TRAINED_SHARE` counts beside those that were seen."""
SHRINKING = {"cost_aware": 0.2}
"""Sampler to the power of the number of trials by which all but the training becomes shorter."""
MIN_OF_EACH = 2
"""Minimum number of stopped trials, and of others, from which their durations are told apart."""


@dataclass(frozen=True)
class TrialDuration:
    """How long a trial took.

    Attributes:
        seconds: From the end of the worker's trial before.
        training_s: Seconds of the training of its network, without fine-tuning; 0 where the cache held it.
        is_stopped: Whether it was stopped early.
    """

    seconds: float
    training_s: float
    is_stopped: bool

    @classmethod
    def of(cls, result: TrialResult, seconds: float) -> "TrialDuration":
        """Return the duration of a trial that has ended."""
        is_known = "trained_before" in result.facts
        training_s = 0.0 if is_known else min(seconds, result.facts.get("seconds", {}).get("train", 0.0))
        return cls(seconds, training_s, result.outcome == "stopped")

    def shortened(self, longest_s: float) -> "TrialDuration":
        """Return the same trial as if it had taken a maximum number of seconds."""
        share = min(1.0, longest_s / self.seconds) if self.seconds else 1.0
        return TrialDuration(share * self.seconds, share * self.training_s, self.is_stopped)


class TrialDurations:
    """The durations of the finished trials of a search.

    Args:
        sampler: Name of the sampler.
        stopped_share: Share of the trials that successive halving stops in the end; 0 without it.
    """

    def __init__(self, sampler: str, stopped_share: float = 0.0) -> None:
        self._sampler, self._stopped_share = sampler, stopped_share
        self._first: list[TrialDuration] = []
        self._later: deque[TrialDuration] = deque(maxlen=RECENT_TRIALS)

    def add(self, number: int, duration: TrialDuration) -> None:
        """Take in the duration of a trial."""
        is_early = number < LARGE_FIRST.get(self._sampler, 2)
        (self._first if is_early else self._later).append(duration)

    @property
    def trial_s(self) -> float | None:
        """Mean seconds of the latest trials, the last ones weighing most; None before the first has ended."""
        return _mean(self._recent, lambda one: one.seconds) if self._recent else None

    def later_trial_s(self, growth: float) -> float | None:
        """Return the mean seconds of trials to come; None before the first has ended.

        Args:
            growth: Number of trials halfway to the end as a multiple of those that have ended.
        """
        recent = self._recent
        stopped, others = [d for d in recent if d.is_stopped], [d for d in recent if not d.is_stopped]
        if not self._stopped_share or min(len(stopped), len(others)) < MIN_OF_EACH:
            return self._expected_s(recent, growth) if recent else None
        # The first that reach a rung go on more often than later ones, so what was seen says too little.
        share = self._stopped_share
        return share * self._expected_s(stopped, growth) + (1 - share) * self._expected_s(others, growth)

    @property
    def _recent(self) -> list[TrialDuration]:
        found = [*(self._first if len(self._later) < MIN_DURATIONS else []), *self._later]
        longest_s = LONGEST * statistics.median(one.seconds for one in found) if found else 0.0
        return [one.shortened(longest_s) for one in found]

    def _expected_s(self, seen: Sequence[TrialDuration], growth: float) -> float:
        trained = [one for one in seen if one.training_s]
        prior = PRIOR_TRIALS * TRAINED_SHARE.get(self._sampler, 1.0)
        share = (prior + len(trained)) / (PRIOR_TRIALS + len(seen))
        training_s = share * _mean(trained, lambda one: one.training_s) if trained else 0.0
        rest_s = _mean(seen, lambda one: one.seconds - one.training_s)
        return training_s + rest_s / math.pow(growth, SHRINKING.get(self._sampler, 0.0))


def _mean(durations: Sequence[TrialDuration], seconds: Callable[[TrialDuration], float]) -> float:
    """Return mean seconds of trials, the last ones weighing most."""
    weights = [0.5 ** (age / HALF_LIFE_TRIALS) for age in reversed(range(len(durations)))]
    return statistics.fmean([seconds(one) for one in durations], weights)
