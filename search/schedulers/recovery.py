"""Learns from a study how far fine-tuning brings a compressed network, and where it is hopeless to go on."""

from collections.abc import Mapping
from typing import Any

from paredown.evaluators.metrics.accuracy import METRIC as ACCURACY
from paredown.evaluators.metrics.measurement import Measurement
from paredown.studies.study import Study

COMPRESSED_KEY = "compressed"
"""Key among the facts of a trial: its accuracy right after compression and after the first epoch of fine-tuning."""
MOMENTS = ("accuracy", "first_epoch")
"""Keys of that fact, in the order in which a trial comes to them."""
LEAST_KNOWN = 4
"""Least number of finished trials within the limit, and of others that began lower, before any trial is stopped."""
NEAR = 0.01
"""Accuracy below the limit that still counts as within it: another seed might have been."""
MARGIN = 0.02
"""Accuracy below the lowest start of a trial that recovered at which a trial still goes on."""


class Recovery:
    """The finished trials of a study that were compressed: where they stood then, and what they came to.

    A trial is hopeless where it stands lower than every trial of the study that came within the limit, by a margin, and
    where several finished trials that stood as low did not.
    """

    def __init__(self) -> None:
        self._known: list[tuple[Mapping[str, float], float]] = []

    @classmethod
    def of(cls, study: Study) -> "Recovery":
        """Return what the study's finished trials show."""
        recovery, measured = cls(), study.measured()
        for row in study.rows():
            if row["state"] == "done":
                recovery.learn(row["facts"], measured.get(row["number"], {}))
        return recovery

    def learn(self, facts: Mapping[str, Any], measurements: Mapping[str, Measurement]) -> None:
        """Take in a trial that is done; one that was not compressed shows nothing."""
        if COMPRESSED_KEY in facts and ACCURACY.name in measurements:
            self._known.append((facts[COMPRESSED_KEY], measurements[ACCURACY.name].value))

    def least_accuracy(self, limit: float) -> tuple[float, float]:
        """Return the accuracy right after compression, and after the first epoch, below which a trial is hopeless.

        Args:
            limit: Least accuracy that the study accepts.

        Returns:
            0, which no trial is below, where the study does not show it.
        """
        after_compression, after_epoch = (self._least(moment, limit) for moment in MOMENTS)
        return after_compression, after_epoch

    def _least(self, moment: str, limit: float) -> float:
        known = [(at[moment], final) for at, final in self._known if moment in at]
        recovered = [start for start, final in known if final >= limit - NEAR]
        if len(recovered) < LEAST_KNOWN:
            return 0.0
        least = min(recovered) - MARGIN
        return least if sum(start < least for start, _ in known) >= LEAST_KNOWN else 0.0
