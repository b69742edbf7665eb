"""Multi-objective asynchronous successive halving, in the variant that stops trials and never pauses them.

At each rung, the scheduler compares a trial in all objectives at once with those that reached the rung before it, and
stops the trial unless it is among the best of them. Optuna's pruners support a single objective.

Source:
    Schmucker, Donini, Zafar, Salinas, Archambeau, Multi-objective Asynchronous Successive Halving, 2021,
    arXiv 2106.12639; brackets as in Li et al., Hyperband, JMLR 2018.
"""

import math
from collections.abc import Mapping, Sequence

import moocore
import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.metrics.measurement import Metric

Losses = NDArray[np.float64]


class Halving:
    """Judges trials at their rungs.

    Its state is the recorded losses alone: a new instance with the same records judges alike. The rungs of a trial lie
    at `min_epochs * factor**k` finished epochs, below the number of epochs planned for it.

    A limit holds for trained networks, so a trial counts as outside the limits at a rung where it is worse than the
    baseline was after as many epochs by more than the limit allows at the end. Such trials come after all others.

    Args:
        metrics: The objectives.
        min_epochs: Number of finished epochs at the first rung.
        factor: At each rung the best 1/factor of the trials goes on.
        brackets: Number of series of rungs.

    Attributes:
        slack: By how much a trial may be worse than the baseline, as a difference of losses by metric; None until that
            is known.
    """

    def __init__(self, metrics: Sequence[Metric], min_epochs: int, factor: int = 2, brackets: int = 1) -> None:
        self._metrics = tuple(metrics)
        self.slack: Mapping[str, float] | None = None
        self._min_epochs, self._factor, self._brackets = min_epochs, factor, brackets
        self._rungs: dict[tuple[int, int], dict[int, tuple[float, ...]]] = {}
        self._baseline: dict[int, tuple[float, ...]] = {}

    def rungs(self, number: int, epochs: int) -> list[int]:
        """Return the numbers of finished epochs after which a trial is judged.

        Args:
            number: Number of the trial; bracket `number % brackets` begins `number % brackets` rungs later.
            epochs: Number of epochs planned for the trial.
        """
        rungs, at = [], self._min_epochs * self._factor ** (number % self._brackets)
        while at < epochs:
            rungs.append(at)
            at *= self._factor
        return rungs

    def stopped_share(self, epochs: int) -> float:
        """Return the share of the trials that are stopped once many have reached each rung.

        Args:
            epochs: Number of epochs planned for a trial.
        """
        going_on = [1 / self._factor ** len(self.rungs(number, epochs)) for number in range(self._brackets)]
        return float(1.0 - sum(going_on) / self._brackets)

    def losses(self, values: Mapping[str, float]) -> list[float] | None:
        """Return all objectives, minimised; None where one is missing or not finite."""
        losses = [m.loss(values[m.name]) for m in self._metrics if m.name in values]
        return losses if len(losses) == len(self._metrics) and np.isfinite(losses).all() else None

    def record(
        self, number: int, epoch: int, epochs: int, losses: Sequence[float] | None, *, spared: bool = False
    ) -> bool:
        """Record a trial that has reached a rung, and return whether it has; of the baseline, every epoch is kept.

        A trial whose losses are not all known is not recorded and therefore not judged, since others cannot be compared
        with it.
        """
        if spared and losses is not None:
            self._baseline[epoch] = tuple(losses)
        if losses is None or epoch not in self.rungs(number, epochs):
            return False
        self._rungs.setdefault((number % self._brackets, epoch), {})[number] = tuple(losses)
        return True

    def judge(
        self, number: int, epoch: int, epochs: int, losses: Sequence[float] | None, *, spared: bool = False
    ) -> str:
        """Record a trial and return why it stops here, or an empty text where it continues.

        A trial continues away from rungs, while fewer than `factor` trials have reached its rung, and where it is
        among the best `ceil(n / factor)` of the `n` trials that have.

        Args:
            number: Number of the trial.
            epoch: Number of epochs that it has finished.
            epochs: Number of epochs planned for it.
            losses: All objectives, minimised; None where not all are known.
            spared: Whether it continues in any case, as the baseline does.
        """
        if not self.record(number, epoch, epochs, losses, spared=spared) or spared:
            return ""
        rung = self._rungs[number % self._brackets, epoch]
        if len(rung) < self._factor:
            return ""
        numbers = sorted(rung)  # by number, since workers reach a rung in any order
        place = numbers.index(number)
        points = np.array([rung[n] for n in numbers])
        excess = self._excess(points, epoch)
        inside = np.flatnonzero(excess <= 0)
        net, ranks = epsilon_net_order(points[inside]) if len(inside) else ([], [])
        outside = [int(at) for at in np.argsort(excess, kind="stable") if excess[at] > 0]
        order = [*(int(inside[at]) for at in net), *outside]
        position, continuing = order.index(place) + 1, math.ceil(len(rung) / self._factor)
        if position <= continuing:
            return ""
        said = "outside the limits" if excess[place] > 0 else f"rank {ranks[inside.tolist().index(place)] + 1}"
        return (
            f"stopped at epoch {epoch} of {epochs}: {said}, place {position} of {len(rung)} "
            f"that reached this rung; the best {continuing} go on"
        )

    def _excess(self, points: Losses, epoch: int) -> Losses:
        """Return by how much each trial is outside the limits after a number of epochs; 0 or less inside."""
        slack, baseline = self.slack or {}, self._baseline.get(epoch)
        at = [i for i, metric in enumerate(self._metrics) if metric.name in slack]
        if baseline is None or not at:
            return np.zeros(len(points))
        allowed = [baseline[i] + slack[self._metrics[i].name] for i in at]
        return np.asarray((points[:, at] - allowed).max(axis=1))

    def forget(self, number: int) -> None:
        """Remove a trial whose process died; the study does not hold its curve either."""
        for rung in self._rungs.values():
            rung.pop(number, None)


def epsilon_net_order(losses: Losses) -> tuple[list[int], list[int]]:
    """Return the order of points, best first, and the non-domination rank of each, counted from 0.

    The order within a rank is such that its first points, however many, cover the rank well; see `epsilon_net`.

    Args:
        losses: Objectives, minimised, `n x m`.
    """
    ranks = moocore.pareto_rank(losses)
    span = np.ptp(losses, axis=0)
    scaled = (losses - losses.min(axis=0)) / np.where(span > 0, span, 1.0)
    order: list[int] = []
    for rank in range(int(ranks.max()) + 1):
        members = np.flatnonzero(ranks == rank)
        order += [int(members[at]) for at in epsilon_net(scaled[members])]
    return order, [int(rank) for rank in ranks]


def epsilon_net(points: Losses) -> list[int]:
    """Return the order in which each point is the farthest from all points before it.

    The first point is the best in the first objective, with ties broken by the next ones. Of equally far points, the
    earlier one comes first, so that copies of a point come last, in their order.

    Source:
        Schmucker et al., 2021, section 3 (greedy epsilon-net); Gonzalez, Clustering to minimize the maximum
        intercluster distance, 1985.
    """
    order = [int(np.lexsort(points.T[::-1])[0])]
    distances = np.full(len(points), np.inf)
    while len(order) < len(points):
        distances = np.minimum(distances, np.linalg.norm(points - points[order[-1]], axis=1))
        distances[order] = -1.0
        order.append(int(distances.argmax()))
    return order
