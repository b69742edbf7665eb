"""The networks of sister studies as more data of a model of this study.

A sister's scores are brought to the scale of this study's. One more input for each sister says whose network it is: its
length scale, tuned with the others, is how far the sister is believed. A sister that makes the model predict this
study's own networks worse is left out.
"""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.ranking import crowding_order
from paredown.search.samplers.sampler import Params, Sister
from paredown.search.samplers.surrogate.gaussian_process import Hyperparameters, Predict, fit, left_out_density, tune
from paredown.search.samplers.surrogate.output_transform import OutputTransform

Array = NDArray[np.float64]
Data = tuple[Array, Array]
"""Inputs and scores of networks."""
Tuned = Callable[[Array, Array, int], Hyperparameters]
"""Inputs and scores to tune on, and the number of inputs of the model -> its hyperparameters."""

MAX_ROWS = 128
"""Maximum number of networks of all sisters together, from the best to the worst of each."""
MAX_OWN = 256
"""Number of finished trials of this study beyond which sisters are left out: by then it knows enough itself."""
PRIOR_ODDS = 20.0
"""Odds at which a sister is believed before this study has networks of its own to test it on."""
BELIEF = 1.0
"""Number of networks of this study that weigh as much as the assumption that a sister's scores need no scaling."""


class Sisters:
    """The networks of all sisters of a study; there may be none.

    Args:
        domain: The knobs of this study.
        sisters: The sisters, each with at least two networks.

    Attributes:
        params: Knobs of their networks.
    """

    def __init__(self, domain: KnobDomain, sisters: Sequence[Sister] = ()) -> None:
        self._sisters = [_SisterData(domain, sister, MAX_ROWS // len(sisters)) for sister in sisters]
        self.params: list[Params] = [params for sister in self._sisters for params in sister.params]

    def __bool__(self) -> bool:
        return bool(self._sisters)

    def fit(self, objective: int, data: Data, first: Data, logs_scale: Data, tuned: Tuned, running: Array) -> Predict:
        """Return the model of an objective's scores, given this study's networks and those of the sisters.

        Args:
            objective: Index of the objective.
            data: Networks of this study. Their inputs are encoded knobs, then the scaled logarithms of the known costs,
                then whatever only this study has.
            first: The first of them, on which hyperparameters are tuned.
            logs_scale: What was subtracted from the logarithms of the costs, and by what they were divided then.
            tuned: Returns hyperparameters.
            running: Inputs of the running trials. They are assumed to end as predicted, so that the next proposal lies
                elsewhere.
        """
        own, count = len(data[0]), len(self._sisters) if len(data[0]) <= MAX_OWN else 0

        def joint(believed: Sequence[int]) -> tuple[Data, Hyperparameters]:
            tuned_on = self._joined(objective, first, logs_scale, believed)
            return self._joined(objective, data, logs_scale, believed), tuned(*tuned_on, own)

        (inputs, scores), found = joint([])
        if count:
            alone = left_out_density(inputs, scores, found, own) - np.log(PRIOR_ODDS)
            each = [joint([at]) for at in range(count)]
            believed = [at for at, (both, how) in enumerate(each) if left_out_density(*both, how, own) > alone]
            (inputs, scores), found = each[believed[0]] if len(believed) == 1 else joint(believed)
        predict = fit(inputs, scores, found)
        if len(running):
            assumed, _ = predict(self._own(running))
            predict = fit(np.vstack([inputs, self._own(running)]), np.concatenate([scores, assumed]), found)
        return lambda new: predict(self._own(new))

    def _own(self, inputs: Array) -> Array:
        """Return inputs of networks of this study with the columns that say so."""
        return np.hstack([inputs, np.zeros((len(inputs), len(self._sisters)))])

    def _joined(self, objective: int, data: Data, logs_scale: Data, believed: Sequence[int]) -> Data:
        """Return networks of this study, followed by those of the sisters that are believed."""
        (inputs, scores), (centre, scale) = data, logs_scale
        tables, columns = [self._own(inputs)], [scores]
        for at in believed:
            sister = self._sisters[at]
            table = np.zeros((len(sister.params), tables[0].shape[1]))
            knobs, costs = sister.knobs.shape[1], len(centre)
            table[:, :knobs] = sister.knobs
            table[:, knobs : knobs + costs] = (sister.logs - centre) / scale
            table[:, inputs.shape[1] + at] = 1
            logs = inputs[:, knobs : knobs + costs] * scale + centre
            tables.append(table)
            columns.append(sister.scaled_scores(objective, inputs[:, :knobs], logs, scores))
        return np.vstack(tables), np.concatenate(columns)


class _SisterData:
    """The networks of one sister, and a model of each objective over them alone."""

    def __init__(self, domain: KnobDomain, sister: Sister, most: int) -> None:
        order = crowding_order(sister.losses)
        rows = order[np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int))]
        self.params = [sister.params[int(row)] for row in rows]
        self.knobs, self.logs = domain.encode(self.params), np.log(np.maximum(sister.costs[rows], 1e-12))
        self._losses, self._groups = sister.losses[rows], domain.groups()
        self._centre, self._scale = self.logs.mean(0), self.logs.std(0) + 1e-9
        self._fitted = cache(self._fit)

    def scaled_scores(self, objective: int, knobs: Array, logs: Array, scores: Array) -> Array:
        """Return the scores of the sister's networks on the scale of this study's.

        The scale is that of a regression of this study's scores over what the sister's model expects of its networks;
        it starts from the belief that none is needed.
        """
        model, own = self._fitted(objective)
        expected = model(self._inputs(knobs, logs))[0]
        apart = expected - expected.mean()
        weight = (apart @ (scores - scores.mean()) + BELIEF) / (apart @ apart + BELIEF)
        return np.asarray(scores.mean() + weight * (own - expected.mean()))

    def _fit(self, objective: int) -> tuple[Predict, Array]:
        losses = self._losses[:, objective]
        scores, inputs = OutputTransform.of(losses).score(losses), self._inputs(self.knobs, self.logs)
        first = max(self._groups, default=-1) + 1
        groups = (*self._groups, *range(first, first + self.logs.shape[1]))
        return fit(inputs, scores, tune(inputs, scores, groups)), scores

    def _inputs(self, knobs: Array, logs: Array) -> Array:
        return np.hstack([knobs, np.nan_to_num((logs - self._centre) / self._scale)])
