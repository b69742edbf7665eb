"""Measures networks in this process, each beside a reference that is measured with it.

One network is measured at a time, under the machine's lock, on cores that nothing else of this program uses.
"""

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from paredown.evaluators.files.onnx_graph import read_graph
from paredown.evaluators.latency.instructions import instructions_here
from paredown.evaluators.latency.kernels import macs_of
from paredown.evaluators.latency.node_features import Array, measures
from paredown.evaluators.latency.node_times import NodeTimes, marked, node_times
from paredown.evaluators.latency.runtime_nodes import runtime_nodes
from paredown.evaluators.latency.undisturbed import Visited, shortest
from paredown.evaluators.measurement_lock import measurement_lock
from paredown.evaluators.metrics.latency_ms import clock, runner

if TYPE_CHECKING:
    from paredown.spaces.families.family import ImageShape

NODES_S = 0.05
"""Seconds that the nodes of a network are measured."""
REFERENCES = ((5, "fp32"), (6, "fp32"), (9, "fp32"), (4, "int8"), (10, "int8"), (12, "int8"))
"""Seeds and formats of networks of blocks that take 0.1 to 0.7 ms; all others are measured beside the first. Each is a
percent faster or slower in one process than in another, so all of them tell what the first is worth in this one."""
REFERENCE_RUNS = 20
"""Runs of a slice of a reference."""


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

    minutes: float = 9.5
    threads: int = 1
    batch_size: int = 1
    formats: tuple[str, ...] = ("fp32", "int8")
    seed: int = 0


class Bench:
    """Measures networks in this process, beside a reference."""

    def __init__(self, asked: Asked) -> None:
        """Open the references.

        Args:
            asked: What is measured.
        """
        from paredown.evaluators.latency.block_networks import block_network

        self._asked = asked
        models = [block_network(seed, format_) for seed, format_ in REFERENCES]
        self._references = [runner(*model, asked.threads, asked.batch_size) for model in models]

    def look(self, seconds: float) -> tuple[float, float]:
        """Measure the references, and return the latency of the first one and the geometric mean of all, in ms."""
        with measurement_lock(), _on_own_cores(self._asked.threads):
            now, end = clock(self._asked.threads), time.perf_counter() + seconds
            least = [shortest(run, REFERENCE_RUNS, now) for run in self._references]
            while time.perf_counter() < end:
                again = [shortest(run, REFERENCE_RUNS, now) for run in self._references]
                least = [min(pair) for pair in zip(least, again, strict=True)]
        return 1e3 * least[0], 1e3 * statistics.geometric_mean(least)

    def visit(self, model: bytes, shape: "ImageShape", seconds: float) -> tuple[float, float]:
        """Return the shortest time of a model and of the first reference beside it, in seconds.

        The model is opened for each visit, since a process with many open ones grows slower.

        Args:
            model: ONNX.
            shape: Channels, height, width of one input.
            seconds: Time to spend.
        """
        threads = self._asked.threads
        times = Visited(self._references[0], threads)
        with measurement_lock(), _on_own_cores(threads):
            times.visit(runner(model, shape, threads, self._asked.batch_size), seconds)
        return times.least

    def nodes(self, model: bytes, shape: "ImageShape") -> tuple[Array, NodeTimes, float]:
        """Return the measures of a model's nodes, their times, and its multiply-accumulates."""
        named = marked(model)
        graph, instructions = read_graph(named, self._asked.batch_size), instructions_here()
        nodes = runtime_nodes(graph, instructions)
        read = measures(graph, nodes, instructions)
        images = {graph.inputs[0]: np.zeros((self._asked.batch_size, *shape), np.float32)}
        with measurement_lock(), _on_own_cores(self._asked.threads):
            times = node_times(named, nodes, read, images, self._asked.threads, NODES_S)
        return read, times, sum(macs_of(graph, operator) for operator in graph.operators)


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
