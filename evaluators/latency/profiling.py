"""Profiles this machine: measures random networks for some minutes and trains the predictor of its latencies.

One network is measured at a time, under the machine's lock, on cores that nothing else of this program uses: exports
run in processes of their own on the other cores, or between measurements where there are none.
"""

import math
import multiprocessing
import os
import platform
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paredown.evaluators.device import CPU_FILE, this_device
from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.files.onnx_graph import read_graph
from paredown.evaluators.latency.fitting import BLOCKS, LEAST_MS, ProfiledNetwork, fitted
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

Exported = tuple[list["RandomNetwork"], list["RandomNetwork"]]
"""The network of a seed in its number formats, and the same on images of other sizes."""
AHEAD = 8
"""Networks of families that are exported ahead; while none is ready, one on other images or of blocks is measured."""
MOST_RESIZED = 32
"""Networks on other images that wait to be measured; older ones are dropped."""
WHOLE_S, NODES_S = 0.15, 0.05
"""Seconds that a network is measured, and that its nodes are."""
FIT_SHARE = 0.15
"""Share of the time that is kept for training the predictor."""
AGAIN_SHARE, AGAIN_EVERY, FEWEST_AGAIN, OTHER_PROCESSES = 0.06, 40, 10, 2
"""Share of the time in which every so many networks, if they are enough, are measured again in so many other processes:
all networks of one process are up to a percent faster or slower than those of another."""
MOST_EXPORTERS = 4
"""Processes that export; measuring takes about as long as one of them does, so few are ever needed."""
FEWEST_NETWORKS = 20
REFERENCES = ((5, "fp32"), (6, "fp32"), (9, "fp32"), (4, "int8"), (10, "int8"), (12, "int8"))
"""Seeds and formats of networks of blocks that take 0.1 to 0.7 ms; all others are measured beside the first. Each is a
percent faster or slower in one process than in another, so all of them tell what the first is worth in this one."""
REFERENCE_RUNS, REFERENCE_S = 20, 3.0
"""Runs of a slice of a reference, and the seconds for which all of them are measured."""
DRIFT = 0.03
"""Change of the references above which a profile says that the machine was unsteady."""


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


def profiled(asked: Asked, tell: Callable[[str], None] = lambda text: None) -> LatencyPredictor:
    """Return the predictor of this machine.

    Args:
        asked: What the profile is made for.
        tell: Called with the progress, in words.

    Raises:
        EvaluationError: The time is too short for a profile.
    """
    start = time.monotonic()
    end = start + 60 * asked.minutes * (1 - FIT_SHARE - AGAIN_SHARE)
    found: list[ProfiledNetwork] = []
    again: list[tuple[RandomNetwork, float]] = []
    with ExitStack() as stack:
        networks = stack.enter_context(_networks(asked))
        bench = Bench(asked)
        for network in networks:
            found.append(bench.profiled(network))
            if len(found) % AGAIN_EVERY == 0 and found[-1].latency_ms >= LEAST_MS:
                again.append((network, found[-1].latency_ms))
            if len(found) % 20 == 0:
                tell(f"{len(found)} networks in {(time.monotonic() - start) / 60:.1f} of {asked.minutes:g} minutes")
            if time.monotonic() > end:
                break
    if len(found) < FEWEST_NETWORKS:
        raise EvaluationError(
            f"{len(found)} networks in {asked.minutes:g} minutes are too few for a profile; needed: {FEWEST_NETWORKS}, "
            "with more --minutes"
        )
    known = again if len(again) >= FEWEST_AGAIN else []
    tell(
        f"{len(found)} networks are measured"
        + (f"; {len(known)} are measured again by other processes" if known else "")
    )
    scale = _scale(asked, bench.reference_ms, known, 60 * asked.minutes * AGAIN_SHARE)
    found = [replace(one, latency_ms=scale * one.latency_ms) for one in found]
    tell("the predictor is trained")
    facts: dict[str, Any] = {
        "device": str(this_device(asked.threads, asked.batch_size)),
        "threads": asked.threads,
        "batch_size": asked.batch_size,
        "reference_ms": bench.reference_ms,
        "reference_drift": bench.drift(),
        "scale_between_processes": scale,
    }
    predictor = fitted(found, facts, 60 * asked.minutes * FIT_SHARE)
    predictor.facts["seconds"] = round(time.monotonic() - start)
    return predictor


class Bench:
    """Measures networks on this machine, beside a reference.

    Attributes:
        reference_ms: Geometric mean of the latencies of the references, on whose clock all others are told.
        drift_before: By what share the references took longer when the bench was set up.
    """

    def __init__(self, asked: Asked, reference_ms: float | None = None) -> None:
        """Measure the references.

        Args:
            asked: What is measured.
            reference_ms: Latency of the references by an earlier bench, which then holds for this one; None for its
                own.
        """
        from paredown.evaluators.latency.block_networks import block_network

        self._asked = asked
        models = [block_network(seed, format_) for seed, format_ in REFERENCES]
        self._references = [runner(*model, asked.threads, asked.batch_size) for model in models]
        with measurement_lock(), _on_own_cores(asked.threads):
            first_ms, now = self._references_now()
        self.reference_ms = now if reference_ms is None else reference_ms
        self.drift_before = now / self.reference_ms - 1
        self._first_ms = first_ms * self.reference_ms / now

    def _references_now(self) -> tuple[float, float]:
        """Return the latency of the first reference and the geometric mean of all."""
        now, end = clock(self._asked.threads), time.perf_counter() + REFERENCE_S
        least = [shortest(run, REFERENCE_RUNS, now) for run in self._references]
        while time.perf_counter() < end:
            least = [min(t, shortest(run, REFERENCE_RUNS, now)) for t, run in zip(least, self._references, strict=True)]
        return 1e3 * least[0], 1e3 * statistics.geometric_mean(least)

    def drift(self) -> float:
        """Return by what share the references take longer than `reference_ms`."""
        with measurement_lock(), _on_own_cores(self._asked.threads):
            return self._references_now()[1] / self.reference_ms - 1

    def latency_ms(self, network: "RandomNetwork", seconds: float = WHOLE_S) -> float:
        """Return the latency of a network."""
        threads = self._asked.threads
        with measurement_lock(), _on_own_cores(threads):
            run = runner(network.model, network.shape, threads, self._asked.batch_size)
            return self._first_ms * ratio_to(self._references[0], run, threads, seconds)

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


def _scale(asked: Asked, reference_ms: float, known: "Sequence[tuple[RandomNetwork, float]]", seconds: float) -> float:
    """Return what latencies of this process are to be multiplied by to be those of several processes in the mean."""
    logs, start = [0.0], time.monotonic()
    for _ in range(OTHER_PROCESSES if known else 0):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
            found = other.submit(latencies_ms, asked, reference_ms, [network for network, _ in known]).result()
        logs.append(statistics.median(math.log(a / b) for a, (_, b) in zip(found, known, strict=True)))
        if time.monotonic() - start > seconds / 2:
            break
    return math.exp(statistics.fmean(logs))


def latencies_ms(
    asked: Asked, reference_ms: float, networks: "Sequence[RandomNetwork]", seconds: float = WHOLE_S
) -> list[float]:
    """Return the latencies of networks on the clock of an earlier bench, measured by a bench of this process."""
    bench = Bench(asked, reference_ms)
    return [bench.latency_ms(network, seconds) for network in networks]


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
    with ProcessPoolExecutor(min(len(spare), MOST_EXPORTERS), context, _stay_on, (spare,)) as pool:
        try:
            yield _alternating(asked, lambda seed: pool.submit(_families, seed, asked.formats))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _alternating(asked: Asked, families: "Callable[[int], Future[Exported]]") -> "Iterator[RandomNetwork]":
    from paredown.evaluators.latency.block_networks import block_network
    from paredown.evaluators.latency.random_networks import RandomNetwork

    first = asked.seed * 100_000
    waiting, ready = list[Future[Exported]](), list[RandomNetwork]()
    resized: deque[RandomNetwork] = deque(maxlen=MOST_RESIZED)
    next_family = at = 0
    while True:
        while len(ready) + len(waiting) < AHEAD:
            waiting.append(families(first + next_family))
            next_family += 1
        for future in [f for f in waiting if f.done()]:
            waiting.remove(future)
            own, others = future.result()
            ready += own
            resized += others
        if ready:
            yield ready.pop(0)
        elif resized:
            yield resized.popleft()
        else:
            format_ = asked.formats[at % len(asked.formats)]
            model, shape = block_network(first + at, format_)
            yield RandomNetwork(f"{BLOCKS}{first + at}", format_, shape, model)
            at += 1


def _families(seed: int, formats: Sequence[str]) -> Exported:
    from paredown.evaluators.latency.random_networks import on_other_images, random_networks

    own = random_networks(seed, formats)
    return own, [other for network in own for other in on_other_images(network)]


def _finished(exported: Exported) -> "Future[Exported]":
    future: Future[Exported] = Future()
    future.set_result(exported)
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
