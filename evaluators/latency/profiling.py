"""Profiles this machine: measures random networks for some minutes and trains the predictor of its latencies.

One network is measured at a time, under the machine's lock, on cores that nothing else of this program uses: exports
run in a process of their own on the other cores, or between measurements where there are none.
"""

import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paredown.evaluators.device import CPU_FILE, this_device
from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.files.onnx_graph import read_graph
from paredown.evaluators.latency.fitting import BLOCKS, ProfiledNetwork, fitted
from paredown.evaluators.latency.kernels import macs_of
from paredown.evaluators.latency.node_features import measures
from paredown.evaluators.latency.node_times import marked, node_times
from paredown.evaluators.latency.predictor import LatencyPredictor
from paredown.evaluators.latency.runtime_nodes import runtime_nodes
from paredown.evaluators.latency.undisturbed import ratio_to, shortest
from paredown.evaluators.measurement_lock import measurement_lock
from paredown.evaluators.metrics.latency_ms import clock, runner

if TYPE_CHECKING:
    from paredown.evaluators.latency.random_networks import RandomNetwork

AHEAD = 8
"""Networks of families that are exported ahead; while none is ready, one of blocks is measured instead."""
WHOLE_S, NODES_S = 0.2, 0.05
"""Seconds that a network is measured, and that its nodes are."""
FIT_SHARE = 0.2
"""Share of the time that is kept for training the predictor."""
FEWEST_NETWORKS = 20
REFERENCE_SEED, REFERENCE_RUNS, REFERENCE_S = 5, 20, 2.0
"""The network beside which all others are measured, and the seconds for which it is measured itself."""
DRIFT = 0.03
"""Change of the reference above which a profile says that the machine was unsteady."""


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

    minutes: float = 8.0
    threads: int = 1
    batch_size: int = 1
    formats: tuple[str, ...] = ("fp32", "int8")
    seed: int = 0


def profiled(asked: Asked, tell: Callable[[str], None] = lambda text: None) -> LatencyPredictor:
    """Return the predictor of this machine.

    Args:
        asked: What the profile is made for.
        tell: Called with the progress, in words.

    Raises:
        EvaluationError: The time is too short for a profile.
    """
    start = time.monotonic()
    end = start + 60 * asked.minutes * (1 - FIT_SHARE)
    found: list[ProfiledNetwork] = []
    with ExitStack() as stack:
        networks = stack.enter_context(_networks(asked))
        bench = Bench(asked)
        for network in networks:
            found.append(bench.profiled(network))
            if len(found) % 20 == 0:
                tell(f"{len(found)} networks in {(time.monotonic() - start) / 60:.1f} of {asked.minutes:g} minutes")
            if time.monotonic() > end:
                break
    if len(found) < FEWEST_NETWORKS:
        raise EvaluationError(
            f"{len(found)} networks in {asked.minutes:g} minutes are too few for a profile; needed: {FEWEST_NETWORKS}, "
            "with more --minutes"
        )
    tell(f"{len(found)} networks are measured; the predictor is trained")
    facts: dict[str, Any] = {
        "device": str(this_device(asked.threads, asked.batch_size)),
        "threads": asked.threads,
        "batch_size": asked.batch_size,
        "reference_ms": bench.reference_ms,
        "reference_drift": bench.drift(),
    }
    predictor = fitted(found, facts, 60 * asked.minutes * FIT_SHARE)
    predictor.facts["seconds"] = round(time.monotonic() - start)
    return predictor


class Bench:
    """Measures networks on this machine, beside a reference.

    Attributes:
        reference_ms: Latency of the reference, on whose clock all others are told.
        drift_before: By what share the reference took longer when the bench was set up.
    """

    def __init__(self, asked: Asked, reference_ms: float | None = None) -> None:
        """Measure the reference.

        Args:
            asked: What is measured.
            reference_ms: Latency of the reference by an earlier bench, which then holds for this one; None for its own.
        """
        from paredown.evaluators.latency.block_networks import block_network

        self._asked = asked
        model, shape = block_network(REFERENCE_SEED, "fp32")
        self._reference = runner(model, shape, asked.threads, asked.batch_size)
        with measurement_lock(), _on_own_cores(asked.threads):
            now = self._reference_now()
        self.reference_ms = now if reference_ms is None else reference_ms
        self.drift_before = now / self.reference_ms - 1

    def _reference_now(self) -> float:
        now, found, end = clock(self._asked.threads), list[float](), time.perf_counter() + REFERENCE_S
        while time.perf_counter() < end:
            found.append(shortest(self._reference, REFERENCE_RUNS, now))
        return 1e3 * min(found)

    def drift(self) -> float:
        """Return by what share the reference takes longer than `reference_ms`."""
        with measurement_lock(), _on_own_cores(self._asked.threads):
            return self._reference_now() / self.reference_ms - 1

    def latency_ms(self, network: "RandomNetwork", seconds: float = WHOLE_S) -> float:
        """Return the latency of a network."""
        threads = self._asked.threads
        with measurement_lock(), _on_own_cores(threads):
            run = runner(network.model, network.shape, threads, self._asked.batch_size)
            return self.reference_ms * ratio_to(self._reference, run, threads, seconds)

    def profiled(self, network: "RandomNetwork") -> ProfiledNetwork:
        """Return a network with its latency and the times of its nodes."""
        model = marked(network.model)
        graph = read_graph(model, self._asked.batch_size)
        nodes = runtime_nodes(graph)
        read = measures(graph, nodes)
        latency_ms = self.latency_ms(network)
        images = {graph.inputs[0]: np.zeros((self._asked.batch_size, *network.shape), np.float32)}
        with measurement_lock(), _on_own_cores(self._asked.threads):
            times = node_times(model, nodes, read, images, self._asked.threads, NODES_S)
        macs = sum(macs_of(graph, operator) for operator in graph.operators)
        return ProfiledNetwork(network.name, network.format, read, times, latency_ms, macs)


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


@contextmanager
def _networks(asked: Asked) -> "Iterator[Iterator[RandomNetwork]]":
    """Yield an endless supply of networks: blocks, and the families' own as fast as they can be exported elsewhere."""
    spare = sorted(os.sched_getaffinity(0))[: -asked.threads] if hasattr(os, "sched_getaffinity") else []
    if not spare:
        yield _alternating(asked, lambda seed: _finished(_families(seed, asked.formats)))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, _stay_on, (spare,)) as pool:
        try:
            yield _alternating(asked, lambda seed: pool.submit(_families, seed, asked.formats))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _alternating(asked: Asked, families: "Callable[[int], Future[list[RandomNetwork]]]") -> "Iterator[RandomNetwork]":
    from paredown.evaluators.latency.block_networks import block_network
    from paredown.evaluators.latency.random_networks import RandomNetwork

    first = asked.seed * 100_000
    waiting, ready = list[Future[list[RandomNetwork]]](), list[RandomNetwork]()
    next_family = at = 0
    while True:
        while len(ready) + len(waiting) < AHEAD:
            waiting.append(families(first + next_family))
            next_family += 1
        for future in [f for f in waiting if f.done()]:
            waiting.remove(future)
            ready += future.result()
        if ready:
            yield ready.pop(0)
            continue
        format_ = asked.formats[at % len(asked.formats)]
        model, shape = block_network(first + at, format_)
        yield RandomNetwork(f"{BLOCKS}{first + at}", format_, shape, model)
        at += 1


def _families(seed: int, formats: Sequence[str]) -> "list[RandomNetwork]":
    from paredown.evaluators.latency.random_networks import random_networks

    return random_networks(seed, formats)


def _finished(networks: "list[RandomNetwork]") -> "Future[list[RandomNetwork]]":
    future: Future[list[RandomNetwork]] = Future()
    future.set_result(networks)
    return future


def _stay_on(cores: Sequence[int]) -> None:
    os.sched_setaffinity(0, cores)


def number_formats() -> tuple[str, ...]:
    """Return the number formats in which this machine computes: ONNX Runtime's float16 on a CPU needs Arm's."""
    half = platform.machine().lower() in ("arm64", "aarch64") and (
        platform.system() == "Darwin" or (CPU_FILE.is_file() and "asimdhp" in CPU_FILE.read_text())
    )
    return ("fp32", "int8", *(("fp16",) if half else ()))


def predictor_file(device_file: Path) -> Path:
    """Return where the predictor of a device file lies."""
    return device_file.with_suffix(".latency.npz")
