"""Measures networks in several processes by turns: each is visited in several of them, once in each.

Where code and buffers of a process lie in memory makes it slower or faster than others, by a percent for all networks,
and by 7 to 17 % for those with products of integers of few columns, such as convolutions with groups. That is drawn
anew with each process, so a process is replaced after some hundreds of visits, and what is peculiar to one is a small
part of a profile.
"""

import math
import multiprocessing
import statistics
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from paredown.evaluators.latency.bench import Asked, Bench
from paredown.evaluators.latency.fitting import ProfiledNetwork
from paredown.evaluators.latency.node_features import Array
from paredown.evaluators.latency.node_times import NodeTimes
from paredown.evaluators.owner import end_with_owner

if TYPE_CHECKING:
    from paredown.evaluators.latency.random_networks import RandomNetwork
    from paredown.spaces.families.family import ImageShape

VISITS, VISIT_EVERY = 4, 8
"""Visits of a network, each in another process, and the networks that come between two of them: some seconds, since
what others do to the caches of a machine lasts for some tenths of one."""
VISIT_S = 0.0375
"""Seconds that a network is measured in a visit."""
LIFE = 200
"""Visits after which a process is replaced; the first ones end earlier, so that not all are replaced at once."""
FIRST_LOOK_S, LOOK_S, LOOK_EVERY = 0.8, 0.3, 50
"""Seconds for which a process measures the references, first and later, and the visits after which it looks again."""


@dataclass
class MeasuredNetwork:
    """A network that was measured, before all is told on one clock.

    Attributes:
        network: The network.
        times: Time of the network and of the first reference in each visit, in seconds, with the place of the process.
        nodes: What the profiler says of its nodes: their measures, their times, and its multiply-accumulates.
    """

    network: "RandomNetwork"
    times: list[tuple[int, tuple[float, float]]] = field(default_factory=list)
    nodes: tuple[Array, NodeTimes, float] | None = None


@dataclass
class _Process:
    place: int
    pool: ProcessPoolExecutor
    life: int
    looks: list[tuple[float, float]]
    visits: int = 0


class BenchProcesses:
    """Measures networks on this machine, in several processes by turns."""

    def __init__(self, asked: Asked, visits: int = VISITS) -> None:
        """Start nothing yet.

        Args:
            asked: What is measured.
            visits: Visits of a network, each in another process.
        """
        self._asked, self._visits = asked, visits
        self._looks: list[list[tuple[float, float]]] = []
        self._open: list[_Process] = []

    def measured(self, networks: "Iterable[RandomNetwork]", seconds: float = VISIT_S) -> Iterator[MeasuredNetwork]:
        """Yield networks that were measured, each after its last visit; those that are left when no more come too.

        Args:
            networks: What is measured, in order; asked for one at a time.
            seconds: Time to spend on each in a visit.
        """
        waiting = deque[MeasuredNetwork]()
        for network in networks:
            waiting.append(MeasuredNetwork(network))
            for each in list(waiting)[::-VISIT_EVERY]:
                self._visit(each, seconds)
            if waiting[0].nodes is not None:
                yield waiting.popleft()
        for _ in range(self._visits):
            for each in waiting:
                if each.nodes is None:
                    self._visit(each, seconds)
        yield from waiting

    def profiled(self, measured: Sequence[MeasuredNetwork], reference_ms: float | None = None) -> list[ProfiledNetwork]:
        """Return networks as they are profiled, told on one clock.

        The median of the visits counts, each of which is told by the first reference beside it. What that is worth in
        a process is the median of its looks: a single one may fall into a time when others disturb it.

        Args:
            measured: What was measured.
            reference_ms: Latency of the references on whose clock latencies are told; None for that of this bench.
        """
        every, found = reference_ms or self.reference_ms, list[ProfiledNetwork]()
        first = [statistics.median(first / all_ for first, all_ in looks) for looks in self._looks]
        for one in measured:
            assert one.nodes is not None, "it was visited as often as all are"
            read, times, macs = one.nodes
            latency_ms = every * statistics.median(first[place] * own / beside for place, (own, beside) in one.times)
            found.append(ProfiledNetwork(one.network.name, one.network.format, read, times, latency_ms, macs))
        return found

    @property
    def reference_ms(self) -> float:
        """Geometric mean of the latencies of the references, in the median of all looks of all processes."""
        return statistics.median(every for looks in self._looks for _, every in looks)

    def drift(self) -> float:
        """Return by what share the references take longer now than `reference_ms`, by all open processes."""
        logs = [math.log(self._look(process, FIRST_LOOK_S)[1] / self.reference_ms) for process in self._open]
        return math.exp(statistics.fmean(logs)) - 1

    def close(self) -> None:
        """End all processes."""
        while self._open:
            self._open.pop().pool.shutdown()

    def _visit(self, one: MeasuredNetwork, seconds: float) -> None:
        """Measure a network in the process whose turn it is, and its nodes at the last visit."""
        process = self._process(len(one.times))
        network = one.network
        visit = process.pool.submit(_visited, self._asked, network.model, network.shape, seconds)
        one.times.append((process.place, visit.result()))
        if len(one.times) == self._visits:
            one.nodes = process.pool.submit(_nodes, self._asked, network.model, network.shape).result()
        process.visits += 1
        if process.visits % LOOK_EVERY == 0:
            self._look(process, LOOK_S)

    def _process(self, turn: int) -> _Process:
        """Return the process that has a turn, a new one where there is none or the last one has served its time."""
        if turn == len(self._open):
            self._open.append(self._started(LIFE * (turn + 1) // self._visits))
        elif self._open[turn].visits == self._open[turn].life:
            self._open[turn].pool.shutdown()
            self._open[turn] = self._started(LIFE)
        return self._open[turn]

    def _started(self, life: int) -> _Process:
        pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), end_with_owner)
        process = _Process(len(self._looks), pool, life, [])
        self._looks.append(process.looks)
        self._look(process, FIRST_LOOK_S)
        return process

    def _look(self, process: _Process, seconds: float) -> tuple[float, float]:
        process.looks.append(process.pool.submit(_look, self._asked, seconds).result())
        return process.looks[-1]


@cache
def _bench(asked: Asked) -> Bench:
    """Return the bench of this process."""
    return Bench(asked)


def _look(asked: Asked, seconds: float) -> tuple[float, float]:
    return _bench(asked).look(seconds)


def _visited(asked: Asked, model: bytes, shape: "ImageShape", seconds: float) -> tuple[float, float]:
    return _bench(asked).visit(model, shape, seconds)


def _nodes(asked: Asked, model: bytes, shape: "ImageShape") -> tuple[Array, NodeTimes, float]:
    return _bench(asked).nodes(model, shape)
