"""Profiles this machine: measures random networks for some minutes and trains the predictor of its latencies.

Exports run in processes of their own, on cores that nothing is measured on, or between measurements where there are
none.
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
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paredown.evaluators.device import CPU_FILE, this_device
from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.latency.bench import Asked, Bench, latencies_ms
from paredown.evaluators.latency.fitting import BLOCKS, LEAST_MS, ProfiledNetwork, fitted
from paredown.evaluators.latency.predictor import LatencyPredictor
from paredown.evaluators.owner import end_with_owner

if TYPE_CHECKING:
    from paredown.evaluators.latency.random_networks import RandomNetwork

Exported = tuple[list["RandomNetwork"], list["RandomNetwork"]]
"""The network of a seed in its number formats, and the same on images of other sizes."""
AHEAD = 8
"""Networks of families that are exported ahead; while none is ready, one on other images or of blocks is measured."""
MOST_RESIZED = 32
"""Networks on other images that wait to be measured; older ones are dropped."""
FIT_SHARE = 0.15
"""Share of the time that is kept for training the predictor."""
AGAIN_SHARE, AGAIN_EVERY, FEWEST_AGAIN, OTHER_PROCESSES = 0.06, 40, 10, 2
"""Share of the time in which every so many networks, if they are enough, are measured again in so many other processes:
all networks of one process are up to a percent faster or slower than those of another."""
MOST_EXPORTERS = 4
"""Processes that export; measuring takes about as long as one of them does, so few are ever needed."""
FEWEST_NETWORKS = 20
DRIFT = 0.03
"""Change of the references above which a profile says that the machine was unsteady."""


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
        for network, one in bench.profiled(takewhile(lambda _: time.monotonic() < end, networks)):
            found.append(one)
            if len(found) % AGAIN_EVERY == 0 and one.latency_ms >= LEAST_MS:
                again.append((network, one.latency_ms))
            if len(found) % 20 == 0:
                tell(f"{len(found)} networks in {(time.monotonic() - start) / 60:.1f} of {asked.minutes:g} minutes")
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
    settled = bench.settled()
    known = [(network, settled * latency_ms) for network, latency_ms in known]
    scale = _scale(asked, bench.reference_ms, known, 60 * asked.minutes * AGAIN_SHARE)
    found = [replace(one, latency_ms=settled * scale * one.latency_ms) for one in found]
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


def _scale(asked: Asked, reference_ms: float, known: "Sequence[tuple[RandomNetwork, float]]", seconds: float) -> float:
    """Return what latencies of this process are to be multiplied by to be those of several processes in the mean."""
    logs, start = [0.0], time.monotonic()
    for _ in range(OTHER_PROCESSES if known else 0):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), end_with_owner) as other:
            found = other.submit(latencies_ms, asked, reference_ms, [network for network, _ in known]).result()
        logs.append(statistics.median(math.log(a / b) for a, (_, b) in zip(found, known, strict=True)))
        if time.monotonic() - start > seconds / 2:
            break
    return math.exp(statistics.fmean(logs))


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
    end_with_owner()
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
