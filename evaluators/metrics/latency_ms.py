"""Latency of the exported file on this machine, on the threads and at the batch size of the study's device, which is 1.

Machines are noisy, and plain medians drift by tens of percent. So each run of the model is paired with a
run of the baseline's file right beside it, in alternating order; the median of the pairs' ratios, times the
baseline's median that was measured once, repeats within a percent even under load. Each of a pair is the median of
runs that are timed one by one, since a mean would count what else the machine does, and on one thread by the processor
time of that thread, in which waiting for a core does not count. A run that is not timed comes before them: it finds the
other model's data in the caches. A lock lets one process at a time measure on a machine.

The interval of a value includes what differs from session to session, which no number of pairs within one shows. Below
`FLOOR_MS`, the time is that of the call and not of the network: such values count as equal.

A file with exits is measured on the validation images, in an order drawn once: the mean over the stream is the median
of each exit's images, weighted by the share of all validation images that leave there.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.device import this_device
from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.measurement_lock import measurement_lock
from paredown.evaluators.metrics.evaluation_input import Baseline, EvaluationInput, Evaluator
from paredown.evaluators.metrics.measurement import Measurement, Metric

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from paredown.evaluators.tasks.normalisation import Inputs
    from paredown.spaces.families.family import ImageShape

FLOOR_MS = 0.02
"""Latency below which a network takes no longer than its call by the runtime."""
METRIC = Metric("latency_ms", "ms", "measured", untrained_tolerance=0.1, floor=FLOOR_MS)
PAIRS = 60
STREAM_SLICE = 8
"""Images between two slices of the reference, at least."""
LEAST_TIMED = 40
"""Images timed of each exit."""
WARM_UP_RUNS = 20
SLICE_S = 0.001
"""A timed slice repeats the model for about as long as this."""
SESSION_SD = 0.01
"""Standard deviation of one model's latency between sessions, as a share: 0.7 to 1.2 % were seen."""


Clock = Callable[[], float]


def clock(threads: int) -> Clock:
    """Return the clock in seconds for runs on a number of threads.

    A model on one thread runs in the thread that calls it, whose processor time leaves out what it waits for a core;
    other models, and systems that count that time coarsely, take the time on the wall.
    """
    fine = time.get_clock_info("thread_time").resolution <= 1e-6
    return time.thread_time if threads == 1 and fine else time.perf_counter


def median_with_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the median and the half width of its 95 % confidence interval, free of any distribution.

    Source:
        Conover, Practical Nonparametric Statistics, 3rd edition, section 3.2 (order statistics).
    """
    ordered = np.sort(values)
    n = len(ordered)
    reach = 1.96 * math.sqrt(n) / 2
    low = ordered[max(0, math.floor(n / 2 - reach))]
    high = ordered[min(n - 1, math.ceil(n / 2 + reach))]
    return float(np.median(ordered)), float(high - low) / 2


def with_sessions(median: float, half_width: float) -> float:
    """Return the half width of an interval that holds within a session, widened by what differs between sessions."""
    return math.hypot(half_width, 1.96 * SESSION_SD * median)


def _measure(inputs: EvaluationInput) -> Measurement:
    if inputs.file is None:
        raise EvaluationError("latency_ms: there is no exported file yet")
    if inputs.has_exits and inputs.images is not None:
        return _stream(inputs.file, inputs.images, inputs.baseline, inputs.threads)
    run = runner(inputs.file, inputs.shape, inputs.threads, inputs.batch_size)
    with measurement_lock():
        taken = absolute(run, inputs.baseline, inputs.threads, batch_size=inputs.batch_size)
    device = str(this_device(inputs.threads, inputs.batch_size))
    return Measurement(METRIC.name, taken.median, taken.half_width, "measured", device, taken.note)


class Taken(NamedTuple):
    """A time in ms.

    Attributes:
        median: Its median.
        half_width: Half of its 95 % interval, with what differs between sessions.
        p90: Its 90th percentile over single runs.
        drift: Share by which the baseline takes longer now than when it was measured first.
    """

    median: float
    half_width: float
    p90: float
    drift: float = 0.0

    @property
    def note(self) -> str:
        """What is kept beside the value: `p90 0.231 ms; the baseline drifted by +1.2 %`."""
        return f"p90 {self.p90:.4g} ms; the baseline drifted by {self.drift:+.1%}"


def absolute(
    run: Callable[[], object], baseline: Baseline | None, threads: int, pairs: int = PAIRS, batch_size: int = 1
) -> Taken:
    """Return how long a run takes, beside runs of the baseline where there is one.

    Args:
        run: What is timed.
        baseline: The finished baseline; None for what is the baseline itself.
        threads: Threads that execute the baseline.
        pairs: Number of runs, or of slices of runs where they are shorter than 1 ms.
        batch_size: Images of one run of the baseline.
    """
    if baseline is None:
        times = _slices(run, clock(threads), pairs)
        median, spread = median_with_interval(times.slices * 1e3)
        return Taken(median, with_sessions(median, spread), times.tail * median)
    beside = runner(baseline.file, baseline.shape, threads, batch_size)
    own, other = paired_times(run, beside, pairs, clock(threads))
    ratio, half_width = median_with_interval(own.slices / other.slices)
    median = ratio * baseline.latency_ms
    drift = 1e3 * float(np.median(other.slices)) / baseline.latency_ms - 1
    return Taken(median, with_sessions(median, half_width * baseline.latency_ms), own.tail * median, drift)


def _stream(file: Path, images: "Inputs", baseline: Baseline | None, threads: int) -> Measurement:
    """Return the mean over a stream of images, timed one by one between slices of the baseline."""
    from paredown.evaluators.files.exit_runtime import BatchRuntime
    from paredown.evaluators.files.onnx_session import open_session

    taken, session = BatchRuntime(file).run(images).taken, open_session(file, threads)
    beside = None if baseline is None else runner(baseline.file, baseline.shape, threads)
    name, now = session.get_inputs()[0].name, clock(threads)
    seconds: dict[int, list[float]] = {}
    with measurement_lock():
        each = SLICE_S / _warm(lambda: session.run(None, {name: images[:1]}), now)
        repeats = 0 if beside is None else _warm(beside, now)
        size = max(STREAM_SLICE, round(SLICE_S / each))
        for rows in np.array_split(_order(taken), max(PAIRS, -(-len(images) // size))):
            unit = 1e-3 if beside is None else _slice(beside, repeats, now)
            for row in rows:
                run = partial(session.run, None, {name: images[row : row + 1]})
                seconds.setdefault(int(taken[row]), []).append(_seconds(run, 1, now) / unit)
    scale = 1.0 if baseline is None else baseline.latency_ms
    mean, variance = 0.0, 0.0
    for exit_, times in seconds.items():
        median, half_width = median_with_interval(np.array(times))
        rate = float((taken == exit_).mean())
        mean, variance = mean + rate * median, variance + (rate * half_width) ** 2
    spread = scale * with_sessions(mean, math.sqrt(variance))
    return Measurement(METRIC.name, scale * mean, spread, "measured", str(this_device(threads)))


def _order(taken: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of the stream, shuffled: each image once, those of a rare exit more often."""
    rows = [np.arange(len(taken))]
    for exit_ in np.unique(taken):
        own = np.flatnonzero(taken == exit_)
        rows.append(np.resize(own, max(0, LEAST_TIMED - len(own))))
    return np.random.default_rng(0).permutation(np.concatenate(rows))


def runner(file: Path | bytes, shape: "ImageShape", threads: int = 1, batch_size: int = 1) -> Callable[[], object]:
    """Return what runs an ONNX model once, on an input of zeros."""
    from paredown.evaluators.files.onnx_session import open_session

    return batched(open_session(file, threads), shape, batch_size)


def batched(session: "InferenceSession", shape: "ImageShape", batch_size: int) -> Callable[[], object]:
    """Return what runs a session once on some images of zeros: as many as its file says, where it says so."""
    entry = session.get_inputs()[0]
    images = entry.shape[0] if isinstance(entry.shape[0], int) else batch_size
    inputs = {entry.name: np.zeros((images, *shape), dtype=np.float32)}
    return lambda: session.run(None, inputs)


def side_by_side(
    runs: Sequence[Callable[[], object]], reference: Callable[[], object], pairs: int = PAIRS, threads: int = 1
) -> list[tuple[float, float]]:
    """Return the ratio of the time of each run to that of the reference, with its half width, of one session.

    In each of some rounds all of them run, each round beginning with another one.
    """
    everyone, now = [reference, *runs], clock(threads)
    repeats = [_warm(run, now) for run in everyone]
    times = np.empty((pairs, len(everyone)))
    for round_ in range(pairs):
        for at in np.roll(np.arange(len(everyone)), round_):
            times[round_, at] = _slice(everyone[at], repeats[at], now)
    found = [median_with_interval(times[:, at] / times[:, 0]) for at in range(1, len(everyone))]
    return [(median, with_sessions(median, half_width)) for median, half_width in found]


@dataclass
class Times:
    """Times of one model, in seconds.

    Attributes:
        slices: Median of each slice.
        waited: What a user waits for each single run.
    """

    slices: NDArray[np.float64]
    waited: list[float]

    @property
    def tail(self) -> float:
        """Ratio of the 90th percentile of what a user waits to its median."""
        return float(np.percentile(self.waited, 90) / np.median(self.waited))


def _slices(run: Callable[[], object], now: Clock, pairs: int = PAIRS) -> Times:
    repeats, waited = _warm(run, now), list[float]()
    return Times(np.array([_slice(run, repeats, now, waited) for _ in range(pairs)]), waited)


def paired_ratios(
    run: Callable[[], object], reference: Callable[[], object], pairs: int = PAIRS
) -> NDArray[np.float64]:
    """Return the ratio of the times of two runs on one thread in each of some pairs, one beside the other."""
    own, other = paired_times(run, reference, pairs, clock(1))
    return own.slices / other.slices


def paired_times(
    run: Callable[[], object], reference: Callable[[], object], pairs: int, now: Clock
) -> tuple[Times, Times]:
    """Return the times of two runs in some pairs of slices, one beside the other, in alternating order."""
    both = (run, reference)
    repeats = [_warm(each, now) for each in both]
    times = [Times(np.empty(pairs), []) for _ in both]
    for pair in range(pairs):
        for at in (0, 1) if pair % 2 else (1, 0):
            times[at].slices[pair] = _slice(both[at], repeats[at], now, times[at].waited)
    return times[0], times[1]


def _warm(run: Callable[[], object], now: Clock) -> int:
    """Run until the code is warm and return how many runs fill a slice."""
    return max(1, round(SLICE_S / min(_seconds(run, 1, now) for _ in range(WARM_UP_RUNS))))


def _slice(run: Callable[[], object], repeats: int, now: Clock, waited: list[float] | None = None) -> float:
    """Return the median time of some runs after one that brings the model's data back into the caches."""
    run()
    return _seconds(run, repeats, now, waited)


def _seconds(run: Callable[[], object], repeats: int, now: Clock, waited: list[float] | None = None) -> float:
    """Return the median time of some runs, each of which is timed by itself, and keep what a user waits for each."""
    times = []
    for _ in range(repeats):
        begun, start = time.perf_counter(), now()
        run()
        times.append(now() - start)
        if waited is not None:
            waited.append(time.perf_counter() - begun)
    return statistics.median(times)


LATENCY_MS = Evaluator(METRIC, "file", _measure)
