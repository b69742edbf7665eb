"""Measures networks in this process, each beside a reference that is measured with it, in visits seconds apart.

One network is measured at a time, under the machine's lock, on cores that nothing else of this program uses.
"""

import os
import statistics
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from paredown.evaluators.files.onnx_graph import read_graph
from paredown.evaluators.latency.kernels import macs_of
from paredown.evaluators.latency.node_features import Array, measures
from paredown.evaluators.latency.node_times import NodeTimes, marked, node_times
from paredown.evaluators.latency.runtime_nodes import runtime_nodes
from paredown.evaluators.latency.undisturbed import Visited, shortest
from paredown.evaluators.measurement_lock import measurement_lock
from paredown.evaluators.metrics.latency_ms import clock, runner

if TYPE_CHECKING:
    from paredown.evaluators.latency.random_networks import RandomNetwork
    from paredown.spaces.families.family import ImageShape

WHOLE_S, NODES_S = 0.15, 0.05
"""Seconds that a network is measured, and that its nodes are."""
VISITS, VISIT_EVERY = 3, 8
"""Visits in which a network is measured, and the networks that come between two of them: some seconds."""
REFERENCES = ((5, "fp32"), (6, "fp32"), (9, "fp32"), (4, "int8"), (10, "int8"), (12, "int8"))
"""Seeds and formats of networks of blocks that take 0.1 to 0.7 ms; all others are measured beside the first. Each is a
percent faster or slower in one process than in another, so all of them tell what the first is worth in this one."""
REFERENCE_RUNS, REFERENCE_S, AGAIN_S, LOOK_EVERY = 20, 3.0, 0.5, 50
"""Runs of a slice of a reference, the seconds for which all of them are measured, first and later, and the networks
after which they are measured again."""


@dataclass(frozen=True)
class Asked:
    """What a profile is made for.

    Attributes:
        minutes: Time that all of it may take.
        threads: Threads that execute one model.
        batch_size: Images of one run.
        formats: Number formats, fp32 among them.
        seed: Draws the networks.
    """

    minutes: float = 9.0
    threads: int = 1
    batch_size: int = 1
    formats: tuple[str, ...] = ("fp32", "int8")
    seed: int = 0


class Bench:
    """Measures networks on this machine, beside a reference.

    Attributes:
        reference_ms: Geometric mean of the latencies of the references, on whose clock all others are told.
        drift_before: By what share the references took longer when the bench was set up.
    """

    def __init__(self, asked: Asked, reference_ms: float | None = None, seconds: float = REFERENCE_S) -> None:
        """Measure the references.

        Args:
            asked: What is measured.
            reference_ms: Latency of the references by an earlier bench, which then holds for this one; None for its
                own.
            seconds: Time to spend on them.
        """
        from paredown.evaluators.latency.block_networks import block_network

        self._asked = asked
        models = [block_network(seed, format_) for seed, format_ in REFERENCES]
        self._references = [runner(*model, asked.threads, asked.batch_size) for model in models]
        self._looks: list[tuple[float, float]] = []
        first_ms, now = self.look(seconds)
        self.reference_ms = now if reference_ms is None else reference_ms
        self.drift_before = now / self.reference_ms - 1
        self._first_ms = first_ms * self.reference_ms / now

    def look(self, seconds: float = AGAIN_S) -> tuple[float, float]:
        """Measure the references, and note and return the latency of the first one and the geometric mean of all."""
        with measurement_lock(), _on_own_cores(self._asked.threads):
            now, end = clock(self._asked.threads), time.perf_counter() + seconds
            least = [shortest(run, REFERENCE_RUNS, now) for run in self._references]
            while time.perf_counter() < end:
                again = [shortest(run, REFERENCE_RUNS, now) for run in self._references]
                least = [min(pair) for pair in zip(least, again, strict=True)]
        self._looks.append((1e3 * least[0], 1e3 * statistics.geometric_mean(least)))
        return self._looks[-1]

    def settled(self) -> float:
        """Return what latencies told so far are to be multiplied by, now that the references are known better; then 1.

        What the first reference is worth beside the others is the median of all looks: a single one may fall into a
        time when others disturb the machine.
        """
        before = self._first_ms
        self._first_ms = self.reference_ms * statistics.median(first / every for first, every in self._looks)
        return self._first_ms / before

    def drift(self) -> float:
        """Return by what share the references take longer than `reference_ms`."""
        self.look(REFERENCE_S)
        return self._looks[-1][1] / self.reference_ms - 1

    def latencies_ms(
        self, networks: "Iterable[RandomNetwork]", seconds: float = WHOLE_S
    ) -> "Iterator[tuple[RandomNetwork, float]]":
        """Yield networks with their latencies, each after its last visit; those that are left when no more come too.

        Args:
            networks: What is measured, in order; asked for one at a time.
            seconds: Time to spend on each, in all visits.
        """
        waiting: deque[tuple[RandomNetwork, Visited]] = deque()
        for at, network in enumerate(networks):
            if at % LOOK_EVERY == LOOK_EVERY - 1:
                self.look()
            waiting.append((network, Visited(self._references[0], self._asked.threads)))
            for each, times in list(waiting)[::-VISIT_EVERY]:
                self.visit(each.model, each.shape, seconds / VISITS, times)
            if waiting[0][1].visits == VISITS:
                first, times = waiting.popleft()
                yield first, self._first_ms * times.ratio
        for _ in range(VISITS):
            for each, times in waiting:
                if times.visits < VISITS:
                    self.visit(each.model, each.shape, seconds / VISITS, times)
        for each, times in waiting:
            yield each, self._first_ms * times.ratio

    def visit(self, model: bytes, shape: "ImageShape", seconds: float, times: Visited | None = None) -> Visited:
        """Measure a model; it is opened for each visit, since a process with many open ones grows slower.

        Args:
            model: ONNX.
            shape: Channels, height, width of one input.
            seconds: Time to spend.
            times: What earlier visits found.
        """
        threads = self._asked.threads
        times = times or Visited(self._references[0], threads)
        with measurement_lock(), _on_own_cores(threads):
            times.visit(runner(model, shape, threads, self._asked.batch_size), seconds)
        return times

    def nodes(self, model: bytes, shape: "ImageShape") -> tuple[Array, NodeTimes, float]:
        """Return the measures of a model's nodes, their times, and its multiply-accumulates."""
        named = marked(model)
        graph = read_graph(named, self._asked.batch_size)
        nodes = runtime_nodes(graph)
        read = measures(graph, nodes)
        images = {graph.inputs[0]: np.zeros((self._asked.batch_size, *shape), np.float32)}
        with measurement_lock(), _on_own_cores(self._asked.threads):
            times = node_times(named, nodes, read, images, self._asked.threads, NODES_S)
        return read, times, sum(macs_of(graph, operator) for operator in graph.operators)


def latencies_ms(
    asked: Asked, reference_ms: float, networks: "Sequence[RandomNetwork]", seconds: float = WHOLE_S
) -> list[float]:
    """Return the latencies of networks on the clock of an earlier bench, measured by a bench of this process."""
    bench = Bench(asked, reference_ms)
    found = [latency_ms for _, latency_ms in bench.latencies_ms(networks, seconds)]
    bench.look()
    settled = bench.settled()
    return [settled * latency_ms for latency_ms in found]


@contextmanager
def _on_own_cores(threads: int) -> Iterator[None]:
    """Keep this thread on the last cores of the machine, as many as a model is executed on; exports use the others."""
    if not hasattr(os, "sched_setaffinity"):  # macOS and Windows
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[-threads:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
