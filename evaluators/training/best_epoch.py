"""The best epoch of a training run, by validation accuracy and then by validation loss."""

import copy
from collections.abc import Mapping
from typing import Any

from torch import nn


class BestEpoch:
    """The best epoch so far, and the number of epochs since then."""

    def __init__(self, model: nn.Module, patience: int) -> None:
        self._model, self._patience, self._since = model, patience, 0
        self._score: tuple[float, float] | None = None
        self._state: dict[str, Any] = {}

    @property
    def is_stale(self) -> bool:
        """Whether the patience is exhausted."""
        return self._since >= self._patience

    def state_dict(self) -> dict[str, Any]:
        """Return what is known of the best epoch."""
        return {"since": self._since, "score": self._score, "state": self._state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._since, self._score, self._state = state["since"], state["score"], state["state"]

    def compare(self, accuracy: float, loss: float) -> None:
        """Keep the weights where they are the best so far."""
        self._since += 1
        if self._score is None or (accuracy, -loss) > self._score:
            self._score, self._since = (accuracy, -loss), 0
            self._state = copy.deepcopy(self._model.state_dict())

    def restore(self) -> None:
        """Restore the weights of the best epoch; the latest weights stay where no epoch was compared."""
        if self._state:
            self._model.load_state_dict(self._state)
