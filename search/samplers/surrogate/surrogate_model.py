"""A surrogate model fitted to a study's history; it predicts loss, costs and feasibility of untried networks."""

import hashlib
from collections.abc import Sequence

import moocore
import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, qmc

from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.history import History
from paredown.search.samplers.sampler import Costs, Params, Region
from paredown.search.samplers.surrogate.batch import Batch
from paredown.search.samplers.surrogate.cost_scale import CostScale
from paredown.search.samplers.surrogate.expected_improvement import expected_improvement
from paredown.search.samplers.surrogate.feasibility_model import DOUBT, FeasibilityModel, fit_feasibility
from paredown.search.samplers.surrogate.gaussian_process import (
    MAX_EXACT,
    Hyperparameters,
    Predict,
    tune,
    tuned_rows,
)
from paredown.search.samplers.surrogate.output_transform import OutputTransform
from paredown.search.samplers.surrogate.sisters import Data, Sisters

Array = NDArray[np.float64]

NODES = 12
"""Number of points of the Gauss-Hermite quadrature over the modelled loss."""
COST_DRAWS = 8
"""Number of quasi-random draws of costs that are predicted, not counted."""
CACHED_FITS = 64
"""Maximum number of tuned kernels that are cached."""
REFERENCE_DRAWS = 128
"""Number of random networks that the reference point takes into account."""
REFERENCE_MARGIN = 0.05
"""Distance of the reference point from the highest cost, as a share of the range of costs."""
NEAREST = 5
"""Number of networks that stand in for the front while no trial is feasible."""

UNLIMITED = Region()

HyperparameterCache = dict[bytes, Hyperparameters]
"""Hyperparameters by a digest of the data that they were tuned on; the cache may be lost at any time."""


class SurrogateModel:
    """A model of one study's history.

    The first objective that is not counted before training is modelled on the scores of `OutputTransform`; further
    objectives that are not counted are predicted from knobs and costs, on a logarithmic scale.

    Args:
        domain: The knobs.
        history: The history, with at least two finished trials.
        costs: Costs that are known before training; None where none are.
        hyperparameters: A cache, which the model fills.
        region: What the study accepts; the hypervolume is counted inside it.
        sisters: Networks of the studies from which this one starts; None for none.

    Attributes:
        best: Knobs of the networks on the present front; of those that come nearest while no trial is feasible.
    """

    def __init__(
        self,
        domain: KnobDomain,
        history: History,
        costs: Costs | None,
        hyperparameters: HyperparameterCache,
        region: Region = UNLIMITED,
        sisters: Sisters | None = None,
    ) -> None:
        self._domain, self._history, self._costs, self._hyperparameters = domain, history, costs, hyperparameters
        self._region, self._sisters = region, sisters or Sisters(domain)
        self._columns = costs.columns if costs is not None else ()
        self._counted_at = {c.objective: i for i, c in enumerate(self._columns) if c.objective is not None}
        objectives = range(history.losses.shape[1])
        self._modelled = next((o for o in objectives if o not in self._counted_at), 0)
        self._axes = [o for o in objectives if o != self._modelled]
        counted = self._count(history.done)
        logs = _logs(counted)[: tuned_rows(len(history.done))]
        self._centre, self._scale = logs.mean(0), logs.std(0) + 1e-9
        self._done = self._encoded(history.done, counted)
        self._pending = self._encoded(history.pending, self._count(history.pending))
        self._transform = OutputTransform.of(history.losses[:, self._modelled])
        self._loss = self._fit_loss()
        self._predicted = {o: self._fit_cost(o) for o in self._axes if o not in self._counted_at}
        self._feasibility = self._fit_feasibility_models()
        self._front, self._reference, self.best = self._present()

    def batch(self, params: Sequence[Params], *, counted: bool = False) -> Batch:
        """Return the networks that may be built and keep the limits, with their costs, estimated or counted exactly."""
        costs = self._count(params) if counted else self._estimate(params)
        allowed = np.flatnonzero(self._allowed(costs))
        chosen = [params[int(i)] for i in allowed]
        return Batch(chosen, costs[allowed], self._encoded(chosen, costs[allowed]))

    def improvement(self, batch: Batch) -> Array:
        """Return the expected hypervolume improvement of each network, times its probability of being feasible.

        The improvement is counted inside the region, so it holds the chance that a network is inside. Where the model
        sees none, but no trial is feasible yet either, the probability alone decides.
        """
        mean, spread = self._loss(self._at_full_training(batch.encoded))
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
        losses = self._transform.loss(mean[:, None] + spread[:, None] * nodes)
        weights = weights / weights.sum()
        draws = [self._scale_of_costs.scaled(draw) for draw in self._axis_costs(batch.encoded, batch.costs, COST_DRAWS)]
        gains = np.mean([expected_improvement(self._front, self._reference, losses, weights, d) for d in draws], 0)
        probability = np.prod([model(batch.encoded) for model in self._feasibility], 0) * np.ones(len(gains))
        if self._history.feasible.any() or (gains * probability > 0).any():
            return np.asarray(gains * probability)
        if (limit := self._region.losses.get(self._modelled)) is not None:
            probability *= norm.cdf((self._transform.score(np.array([limit])) - mean) / np.hypot(spread, DOUBT))
        return np.asarray(probability)

    def violations(self, losses: Array) -> Array:
        """Return by how much expected objectives, as of `losses`, are beyond the region, in units of their range."""
        limits = [self._region.losses.get(o, np.inf) for o in (self._modelled, *self._axes)]
        return np.asarray(np.clip((losses - limits) / (np.ptp(losses, axis=0) + 1e-12), 0, None).sum(1))

    def losses(self, batch: Batch) -> Array:
        """Return the expected objectives, minimised, `n x m`, the modelled one first."""
        if not batch.params:
            return np.empty((0, 1 + len(self._axes)))
        return self._expected(batch.encoded, batch.costs)

    def uncertainty(self, batch: Batch) -> Array:
        """Return the standard deviation of each network's loss, in scores."""
        return self._loss(self._at_full_training(batch.encoded))[1]

    def _expected(self, encoded: Array, costs: Array) -> Array:
        mean = self._transform.loss(self._loss(self._at_full_training(encoded))[0])
        return np.column_stack([mean, self._axis_costs(encoded, costs, 1)[0]])

    def _axis_costs(self, encoded: Array, costs: Array, draws: int) -> list[Array]:
        """Return tables of the objectives beside the modelled one, `n x (m - 1)`: one table where all are counted."""
        seen = {o: predict(encoded) for o, (predict, _) in self._predicted.items()}
        if not seen or draws == 1:
            shifts = np.zeros((1, len(seen)))
        else:
            shifts = norm.ppf(qmc.Sobol(len(seen), rng=0).random(draws))
        tables = []
        for row in shifts:
            table = np.empty((len(encoded), len(self._axes)))
            shift = dict(zip(seen, row, strict=True))
            for at, o in enumerate(self._axes):
                if o in seen:
                    mean, spread = seen[o]
                    table[:, at] = self._predicted[o][1].loss(mean + shift[o] * spread)
                else:
                    table[:, at] = costs[:, self._counted_at[o]]
            tables.append(table)
        return tables

    def _present(self) -> tuple[Array, Array, list[Params]]:
        """Return the points of the front, the reference point, and the networks of the front.

        The loss of a tried network is the model's prediction, which has less noise than the observed loss.
        """
        done = self._history
        smooth = self._transform.loss(self._loss(self._at_full_training(self._done))[0])
        points = np.column_stack([smooth, done.losses[:, self._axes]])
        best = self._best(points)
        # An untried network may be worth it although it costs more than all tried ones.
        drawn = [self._domain.draw(np.random.default_rng(i)) for i in range(REFERENCE_DRAWS)]
        everything = np.vstack([points, self.losses(self.batch(drawn))])
        self._scale_of_costs = CostScale.of(everything[:, 1:] if self._region.losses else everything[:0, 1:])
        points, everything = self._scale_of_costs.scaled(points), self._scale_of_costs.scaled(everything)
        reference = everything.max(0) + REFERENCE_MARGIN * np.ptp(everything, axis=0) + 1e-9
        worst = {**self._region.reference, **self._region.losses}
        limits = np.array([[worst.get(o, np.inf) for o in (self._modelled, *self._axes)]])
        reference = np.minimum(reference, self._scale_of_costs.scaled(limits)[0])
        reference[0] = self._region.losses.get(
            self._modelled, (everything if self._sisters else points)[:, 0].max() + 1e-9
        )
        points = points[done.feasible]
        if done.pending:
            points = np.vstack(
                [points, self._scale_of_costs.scaled(self._expected(self._pending, self._count(done.pending)))]
            )
        return points, reference, best

    def _best(self, points: Array) -> list[Params]:
        """Return the networks of the front, or of the trials that break the limits least while none is feasible."""
        done = self._history
        rows = np.flatnonzero(done.feasible)
        if len(rows):
            return [done.done[int(i)] for i in rows[moocore.is_nondominated(points[rows])]]
        broken = [sum(one.values()) for one in done.violations]
        return [done.done[int(i)] for i in np.argsort(broken, kind="stable")[:NEAREST]]

    def _fit_loss(self) -> Predict:
        losses, rows = self._history.losses[:, self._modelled], tuned_rows(len(self._done))
        inputs, scores = self._at_full_training(self._done), self._transform.score(losses)
        first_inputs, first_scores = inputs[:rows], OutputTransform.of(losses[:rows]).score(losses[:rows])
        if self._history.stopped:
            stopped = [params for params, _, _ in self._history.stopped]
            shares, early_losses = np.array([numbers for _, *numbers in self._history.stopped]).T
            early = self._with_shares(self._encoded(stopped, self._count(stopped)), shares)
            early_scores = self._transform.score(early_losses)
            inputs, scores = np.vstack([inputs, early]), np.concatenate([scores, early_scores])
            first_inputs = np.vstack([first_inputs, early[:rows]])
            first_scores = np.concatenate([first_scores, early_scores[:rows]])
        running = self._at_full_training(self._pending)
        return self._fitted(self._modelled, (inputs, scores), (first_inputs, first_scores), running)

    def _fit_cost(self, objective: int) -> tuple[Predict, OutputTransform]:
        """Return a model of an objective, on a logarithmic scale where all values are positive, and the inverse map."""
        values = self._history.losses[:, objective]
        rows, positive = tuned_rows(len(values)), bool((values > 0).all())
        scaled = np.log(values) if positive else values
        centre, scale = scaled[:rows].mean(), scaled[:rows].std() + 1e-9
        scores = (scaled - centre) / scale
        grid = np.linspace(scores.min() - 3, scores.max() + 3, 400)
        raw = grid * scale + centre
        back = OutputTransform(np.exp(raw) if positive else raw, grid)
        return self._fitted(objective, (self._done, scores), (self._done[:rows], scores[:rows]), self._done[:0]), back

    def _fitted(self, objective: int, data: Data, first: Data, running: Array) -> Predict:
        return self._sisters.fit(objective, data, first, (self._centre, self._scale), self._tuned, running)

    def _fit_feasibility_models(self) -> list[FeasibilityModel]:
        """Return a model for each constraint but the limits on counted costs, and one for the risk of failure."""
        # Limits on counted costs are certain; those on objectives are part of the improvement.
        counted = {c.name for c in self._columns if c.limit is not None} | self._region.constraints
        observed: dict[str, list[tuple[Params, float]]] = {}
        for params, constraints in self._history.constraints:
            for name, value in constraints.items():
                if name not in counted:
                    observed.setdefault(name, []).append((params, value))
        failed = self._history.failed
        if failed:
            observed["failure"] = [*((p, -1.0) for p in self._history.done), *((p, 1.0) for p in failed)]
        models = []
        for pairs in observed.values():
            networks, values = [p for p, _ in pairs], np.array([v for _, v in pairs])
            if (values > 0).any() and len(values) > 2:
                models.append(fit_feasibility(self._encoded(networks, self._count(networks)), values, self._tuned))
        return models

    def _tuned(self, inputs: Array, scores: Array, fitted: int = 0) -> Hyperparameters:
        """Return the hyperparameters tuned on the data; the same data is tuned once.

        Where the number of fitted trials calls for a forest, which needs none, nothing is tuned.
        """
        if fitted > MAX_EXACT:
            return Hyperparameters(np.ones(inputs.shape[1]), 1.0, 0.01)
        key = hashlib.sha256(inputs.tobytes() + scores.tobytes()).digest()
        if key not in self._hyperparameters:
            if len(self._hyperparameters) >= CACHED_FITS:
                self._hyperparameters.pop(next(iter(self._hyperparameters)))
            groups = self._domain.groups()
            extra = range(len(self._domain.names), len(self._domain.names) + inputs.shape[1] - len(groups))
            self._hyperparameters[key] = tune(inputs, scores, (*groups, *extra))
        return self._hyperparameters[key]

    def _encoded(self, params: Sequence[Params], costs: Array) -> Array:
        # A network that cannot be built has no costs; `_allowed` excludes it.
        logs = np.nan_to_num((_logs(costs) - self._centre) / self._scale)
        return np.hstack([self._domain.encode(params), logs])

    def _at_full_training(self, encoded: Array) -> Array:
        return self._with_shares(encoded, np.ones(len(encoded)))

    def _with_shares(self, encoded: Array, shares: Array) -> Array:
        """Return the inputs of the model of the loss, with the share of training where trials were stopped."""
        return np.column_stack([encoded, np.log(shares)]) if self._history.stopped else encoded

    def _count(self, params: Sequence[Params]) -> Array:
        return self._costs.count(params) if self._costs is not None and params else self._no_costs(params)

    def _estimate(self, params: Sequence[Params]) -> Array:
        return self._costs.estimate(params) if self._costs is not None and params else self._no_costs(params)

    def _no_costs(self, params: Sequence[Params]) -> Array:
        return np.empty((len(params), len(self._columns)))

    def _allowed(self, costs: Array) -> NDArray[np.bool_]:
        limits = np.array([np.inf if c.limit is None else c.limit for c in self._columns])
        return np.asarray(~np.isnan(costs).any(1) & (costs <= limits).all(1))


def _logs(costs: Array) -> Array:
    return np.log(np.maximum(costs, 1e-12))
