"""Multi-objective asynchronous successive halving, the variant that stops trials and pauses none.

At each rung a trial is compared, in all objectives at once, with those that have reached the rung before it;
unless it is among the best of them it ends there. Optuna's pruners know one objective only.

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
    """Judges trials at their rungs. It is the sum of what was recorded: a new one told the same says the same.

    The rungs of a trial lie at `min_epochs * factor**k` finished epochs, below the epochs it is to be trained for.
    """

    def __init__(self, metrics: Sequence[Metric], min_epochs: int, factor: int = 2, brackets: int = 1) -> None:
        self._metrics = tuple(metrics)
        self._min_epochs, self._factor, self._brackets = min_epochs, factor, brackets
        self._rungs: dict[tuple[int, int], dict[int, tuple[float, ...]]] = {}

    def rungs(self, number: int, epochs: int) -> list[int]:
        """Return after which finished epochs a trial is judged.

        Args:
            number: Of the trial; bracket `number % brackets` begins `number % brackets` rungs later.
            epochs: Planned for the trial.
        """
        rungs, at = [], self._min_epochs * self._factor ** (number % self._brackets)
        while at < epochs:
            rungs.append(at)
            at *= self._factor
        return rungs

    def losses(self, values: Mapping[str, float]) -> list[float] | None:
        """Return all objectives, minimised; None where the values lack one or it is not finite."""
        losses = [m.loss(values[m.name]) for m in self._metrics if m.name in values]
        return losses if len(losses) == len(self._metrics) and np.isfinite(losses).all() else None

    def record(self, number: int, epoch: int, epochs: int, losses: Sequence[float] | None) -> bool:
        """Keep where a trial stands, and return whether it stands at a rung.

        One whose losses are not all known is not kept and so not judged: others cannot be compared with it.
        """
        if losses is None or epoch not in self.rungs(number, epochs):
            return False
        self._rungs.setdefault((number % self._brackets, epoch), {})[number] = tuple(losses)
        return True

    def judge(
        self, number: int, epoch: int, epochs: int, losses: Sequence[float] | None, *, spared: bool = False
    ) -> str:
        """Record a trial and return why it ends here; empty: it goes on.

        It goes on away from rungs, while fewer than `factor` trials have reached its rung, and where it is
        among the best `ceil(n / factor)` of the `n` that have.

        Args:
            number: Of the trial.
            epoch: How many epochs it has finished.
            epochs: How many are planned for it.
            losses: All objectives, minimised; None where not all are known.
            spared: Whether it goes on in any case, as the baseline does.
        """
        if not self.record(number, epoch, epochs, losses) or spared:
            return ""
        rung = self._rungs[number % self._brackets, epoch]
        if len(rung) < self._factor:
            return ""
        numbers = sorted(rung)  # by number, since workers reach a rung in any order
        place = numbers.index(number)
        order, ranks = epsilon_net_order(np.array([rung[n] for n in numbers]))
        position, kept = order.index(place) + 1, math.ceil(len(rung) / self._factor)
        if position <= kept:
            return ""
        return (
            f"stopped at epoch {epoch} of {epochs}: rank {ranks[place] + 1}, place {position} of {len(rung)} "
            f"that reached this rung; the best {kept} go on"
        )

    def forget(self, number: int) -> None:
        """Drop a trial whose process died: the study does not hold its curve either."""
        for rung in self._rungs.values():
            rung.pop(number, None)


def epsilon_net_order(losses: Losses) -> tuple[list[int], list[int]]:
    """Return the order of points, best first, and the non-dominated rank of each, counted from 0.

    Within a rank they are ordered so that any number of first ones covers the rank well; see `epsilon_net`.

    Args:
        losses: `n x m`, minimised.
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
    """Return the order in which each next point is the one farthest from all those before it.

    The first is the best in the first objective, then in the next ones; of equally far points the earlier one
    comes first, so that equal points come last in their order.

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
