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
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from paredown.evaluators.device import CPU_FILE, this_device
from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.latency.bench import Asked
from paredown.evaluators.latency.bench_processes import BenchProcesses, MeasuredNetwork
from paredown.evaluators.latency.fitting import BLOCKS, ProfiledNetwork, fitted
from paredown.evaluators.latency.instructions import KEY, instructions_here
from paredown.evaluators.latency.predictor import LatencyPredictor
from paredown.evaluators.latency.random_networks import OTHER_SIZES, RandomNetwork, on_other_images, random_networks
from paredown.evaluators.owner import end_with_owner
from paredown.spaces.families.catalogue import PUBLISHED

VISITS = 2
"""Visits of a network. What is peculiar to a process teaches nothing where many networks were visited in each, so more
networks in the same time are worth more than more visits."""
AHEAD = 8
"""Networks of families that are exported ahead; while none is ready, one on other images or of blocks is measured."""
UNFIT = 0.1
"""What a network that does not fit counts beside one that does, so that a family that seldom fits is drawn more often,
and one that never does is not drawn alone."""
MOST_RESIZED = 64
"""Networks that wait to be measured on other images; older ones are dropped."""
HEAVY_BYTES, HEAVY_TIMES = 2e6, 1.25
"""Size from which on a network is measured after all exports, and how many times as long as others it takes: an export
on the next core takes the cache that both share, and weights that fill it take up to 10 % longer to read."""
AGAIN_EVERY = 17
"""One of so many networks that were measured beside exports is measured again without, which tells what these cost. It
is odd, since a network comes in two number formats."""
FIT_SHARE = 0.12
"""Share of the time that is kept for training the predictor."""
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
        EvaluationError: The time is too short for a profile, or a process of it was ended.
    """
    try:
        return _profiled(asked, tell)
    except BrokenExecutor as error:
        raise EvaluationError(
            "a process of the profile was ended from outside, as the system does where memory is short; profile again"
        ) from error


def _profiled(asked: Asked, tell: Callable[[str], None]) -> LatencyPredictor:
    start = time.monotonic()
    end = start + 60 * asked.minutes * (1 - FIT_SHARE)
    measured = list[MeasuredNetwork]()
    heavy = list[RandomNetwork]()
    with closing(BenchProcesses(asked, VISITS)) as bench:
        with _networks(asked) as networks:
            in_time = _in_time(networks, measured, heavy, (start, end))
            for one in bench.measured(_light(in_time, heavy)):
                measured.append(one)
                if len(measured) % 20 == 0:
                    minutes = (time.monotonic() - start) / 60
                    tell(f"{len(measured)} networks in {minutes:.1f} of {asked.minutes:g} minutes")
        beside = len(measured)
        tell(f"{len(heavy)} networks with large files are measured, and some again, while nothing is exported")
        again = list(bench.measured(one.network for one in measured[:beside:AGAIN_EVERY]))
        measured += bench.measured(takewhile(lambda _: time.monotonic() < end, heavy))
        if len(measured) < FEWEST_NETWORKS:
            raise EvaluationError(
                f"{len(measured)} networks in {asked.minutes:g} minutes are too few for a profile; needed: "
                f"{FEWEST_NETWORKS}, with more --minutes"
            )
        drift = bench.drift()
    tell(f"{len(measured)} networks are measured; the predictor is trained")
    facts: dict[str, Any] = {
        "device": str(this_device(asked.threads, asked.batch_size)),
        "threads": asked.threads,
        "batch_size": asked.batch_size,
        KEY: instructions_here().name,
        "reference_ms": bench.reference_ms,
        "reference_drift": drift,
    }
    found = bench.profiled(measured)
    found[:beside] = without_exports(found[:beside], bench.profiled(again))
    left = end - time.monotonic() + 60 * asked.minutes * FIT_SHARE
    predictor = fitted(found, facts, max(left, 30 * asked.minutes * FIT_SHARE))
    predictor.facts["seconds"] = round(time.monotonic() - start)
    return predictor


def without_exports(beside: Sequence[ProfiledNetwork], again: Sequence[ProfiledNetwork]) -> list[ProfiledNetwork]:
    """Return networks that were measured beside exports, with what these cost a number format in the median taken out.

    Args:
        beside: The networks.
        again: One of each `AGAIN_EVERY` of them, measured again when nothing was exported.
    """
    logs: dict[str, list[float]] = defaultdict(list)
    for one, alone in zip(beside[::AGAIN_EVERY], again, strict=True):
        logs[one.format].append(math.log(alone.latency_ms / one.latency_ms))
    factors = {name: math.exp(statistics.median(those)) for name, those in logs.items()}
    return [replace(one, latency_ms=one.latency_ms * factors.get(one.format, 1.0)) for one in beside]


def _in_time(
    networks: Iterable[RandomNetwork],
    measured: Sequence[MeasuredNetwork],
    heavy: Sequence[RandomNetwork],
    span: tuple[float, float],
    now: Callable[[], float] = time.monotonic,
) -> Iterator[RandomNetwork]:
    """Yield networks until those that are measured afterwards need the time that is left, by the pace so far.

    Args:
        networks: Where they come from.
        measured: What was measured so far; grows meanwhile.
        heavy: What waits to be measured; grows too.
        span: Begin and end of all measuring.
        now: Clock of the span.
    """
    start, end = span
    for network in networks:
        later, time_now = HEAVY_TIMES * len(heavy) + len(measured) / AGAIN_EVERY, now()
        if time_now + later * (time_now - start) / max(len(measured), 1) >= end:
            return
        yield network


def _light(networks: Iterable[RandomNetwork], heavy: list[RandomNetwork]) -> Iterator[RandomNetwork]:
    """Yield networks but for those with large files, which are kept for later."""
    for network in networks:
        if _is_heavy(network):
            heavy.append(network)
        else:
            yield network


def _is_heavy(network: RandomNetwork) -> bool:
    return len(network.model) >= HEAVY_BYTES


@contextmanager
def _networks(asked: Asked) -> Iterator[Iterator[RandomNetwork]]:
    """Yield an endless supply of networks: blocks, and the families' own as fast as they can be exported elsewhere."""
    spare = sorted(os.sched_getaffinity(0))[: -asked.threads] if hasattr(os, "sched_getaffinity") else []
    if not spare:
        yield _alternating(asked, lambda seed, family: _finished(random_networks(seed, asked.formats, family)))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(len(spare), MOST_EXPORTERS), context, _stay_on, (spare,)) as pool:
        try:
            yield _alternating(asked, lambda seed, family: pool.submit(random_networks, seed, asked.formats, family))
        finally:
            pool.shutdown(cancel_futures=True)


def _alternating(asked: Asked, families: Callable[[int, str], Future[list[RandomNetwork]]]) -> Iterator[RandomNetwork]:
    """Yield networks, as many of one family as of another: those that are slow to export on more sizes of images."""
    from paredown.evaluators.latency.block_networks import block_network

    first = asked.seed * 100_000
    waiting, ready = dict[Future[list[RandomNetwork]], str](), list[RandomNetwork]()
    exported, yielded = defaultdict[str, float](float), Counter[str]()
    own: deque[RandomNetwork] = deque(maxlen=MOST_RESIZED)
    resized: deque[RandomNetwork] = deque()
    next_family = at = 0
    while True:
        while len(ready) + len(waiting) < AHEAD:
            rarest = min(PUBLISHED, key=lambda name: exported[name])
            waiting[families(first + next_family, rarest)] = rarest
            exported[rarest] += 1
            next_family += 1
        for future in [f for f in waiting if f.done()]:
            family, found = waiting.pop(future), future.result()
            ready += found
            exported[family] -= 0.0 if found else 1 - UNFIT
        while own and not ready and not resized:
            network = min(own, key=lambda one: yielded[one.family])
            own.remove(network)
            resized += on_other_images(network, 1 if _is_heavy(network) else OTHER_SIZES)
        if ready:
            own.append(ready.pop(0))
            yielded[own[-1].family] += 1
            yield own[-1]
        elif resized:
            yielded[resized[0].family] += 1
            yield resized.popleft()
        else:
            format_ = asked.formats[at % len(asked.formats)]
            model, shape = block_network(first + at, format_)
            yield RandomNetwork(f"{BLOCKS}{first + at}", format_, shape, model)
            at += 1


def _finished(exported: list[RandomNetwork]) -> Future[list[RandomNetwork]]:
    future: Future[list[RandomNetwork]] = Future()
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
