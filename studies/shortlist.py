"""The few of many models that a choice under limits comes down to, found with arrays in place of objects."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.metrics.measurement import Metric, Objective, optimised_metrics
from paredown.studies.front import Model

Floats = NDArray[np.float64]


class Shortlist:
    """Finished models, of which the feasible ones are looked at as arrays.

    Args:
        models: The models.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self._models = models
        self._feasible = [model for model in models if model.feasible]
        self._trials = np.array([model.trial for model in self._feasible])
        self._losses: dict[str, Floats] = {}

    def among(self, objectives: Sequence[Objective], limits: Sequence[Objective]) -> Sequence[Model]:
        """Return models among which `choose`, by the order `first`, finds what it finds among all.

        These are the best two that keep the limits and, for each limit, the best that breaks it alone. All are returned
        where no model keeps the limits, and where a limit of the study is given anew.

        Args:
            objectives: Objectives of the study.
            limits: Limits, each with its worst acceptable value.
        """
        given = {limit.metric.name for limit in limits}
        if any(one.is_limited and one.metric.name in given for one in objectives):
            return self._models
        losses = np.stack([self._of(metric) for metric in optimised_metrics(objectives)])
        broken = np.zeros((len(limits), len(self._feasible)), dtype=bool)
        for row, limit in zip(broken, limits, strict=True):
            row[:] = ~(self._of(limit.metric) <= limit.metric.loss(limit.limit or 0.0))  # also where there is no value
        fitting = np.flatnonzero(~broken.any(axis=0))
        if not len(fitting):
            return self._models
        best = fitting[np.lexsort((self._trials[fitting], *losses[::-1, fitting]))][:2]
        chosen, is_alone = {int(one) for one in best}, broken.sum(axis=0) == 1
        for limit, row in zip(limits, broken, strict=True):
            values = self._of(limit.metric)
            out = np.flatnonzero(row & is_alone & ~np.isnan(values) & (losses[0] < losses[0][best[0]]))
            if len(out):
                chosen.add(int(out[np.lexsort((values[out], losses[0][out]))[0]]))
        return [self._feasible[one] for one in sorted(chosen)]

    def _of(self, metric: Metric) -> Floats:
        """Return the loss of each feasible model in a metric; NaN where it has no value."""
        if metric.name not in self._losses:
            values = (model.measurements.get(metric.name) for model in self._feasible)
            self._losses[metric.name] = np.array([np.nan if v is None else metric.loss(v.value) for v in values])
        return self._losses[metric.name]
