"""Decides whether a running trial continues; every driver asks after each epoch."""

from collections.abc import Mapping

from paredown.search.schedulers.halving import Halving


class Judge:
    """Stops trials early by successive halving; without it, all trials run to their end."""

    def __init__(self, halving: Halving | None) -> None:
        self._halving = halving

    def judge(self, number: int, epoch: int, epochs: int, metrics: Mapping[str, float], *, spared: bool) -> str:
        """Return why a running trial stops here, or an empty text where it continues.

        Args:
            number: Number of the trial.
            epoch: The epoch that it has just finished, counted from 0.
            epochs: Number of epochs planned for it.
            metrics: Values by name, with the costs among the objectives.
            spared: Whether it continues in any case, as the baseline does.
        """
        if self._halving is None:
            return ""
        return self._halving.judge(number, epoch + 1, epochs, self._halving.losses(metrics), spared=spared)

    def forget(self, number: int) -> None:
        """Remove a trial whose process died."""
        if self._halving is not None:
            self._halving.forget(number)
