"""Watches a compressed network recover in a trial: what it has lost, and whether it is hopeless to go on."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from paredown.evaluators.errors import TrialStopped
from paredown.evaluators.metrics.accuracy import METRIC as ACCURACY
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.inference import score
from paredown.search.schedulers.recovery import COMPRESSED_KEY, MOMENTS


class Recovering:
    """The accuracy of a trial right after compression and after the first epoch of fine-tuning.

    Args:
        least_accuracy: Accuracy below which the trial stops at either moment.
        epochs: Number of epochs of fine-tuning; after a single one, the trial is at its end and does not stop.

    Attributes:
        at_stop: Metrics at the moment at which the trial was stopped; empty unless it was.
    """

    def __init__(self, least_accuracy: tuple[float, float], epochs: int) -> None:
        self._least, self._epochs = dict(zip(MOMENTS, least_accuracy, strict=True)), epochs
        self._seen: dict[str, float] = {}
        self._first_epoch: int | None = None
        self.at_stop: dict[str, float] = {}

    @property
    def facts(self) -> dict[str, Any]:
        """What was seen, for the facts of the trial; empty before compression."""
        return {COMPRESSED_KEY: dict(self._seen)} if self._seen else {}

    def begin(self, network: nn.Module, data: TrainingData, first_epoch: int) -> float:
        """Measure a network right after compression, and return its accuracy.

        Args:
            network: The network.
            data: Data with the validation images.
            first_epoch: Number of the first epoch of fine-tuning.

        Raises:
            TrialStopped: It is hopeless to go on.
        """
        accuracy, _ = score(network, data.validation, data.normalise)
        self._first_epoch = first_epoch
        if reason := self._stops(MOMENTS[0], accuracy, "right after compression"):
            raise TrialStopped(reason)
        return accuracy

    def after_epoch(self, epoch: int, metrics: Mapping[str, float]) -> str:
        """Return why the trial stops after an epoch, or an empty text."""
        if epoch != self._first_epoch or self._epochs < 2:
            return ""
        return self._stops(MOMENTS[1], metrics[ACCURACY.name], "after the first epoch of fine-tuning")

    def _stops(self, moment: str, accuracy: float, when: str) -> str:
        self._seen[moment] = accuracy
        if accuracy >= self._least[moment]:
            return ""
        self.at_stop = {ACCURACY.name: accuracy}
        return (
            f"stopped {when}: accuracy {ACCURACY.format(accuracy)} is below {ACCURACY.format(self._least[moment])}, "
            "from where no trial of this study has come within the limit"
        )
