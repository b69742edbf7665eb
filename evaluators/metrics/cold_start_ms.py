"""Time from the exported file on the disk to its first answer: a session is opened, and one image runs through it.

The process is warm: Python and ONNX Runtime are loaded, which takes the same time for every model, and the file lies in
the cache of the operating system. Each opening stands beside runs of the baseline, as in
`paredown.evaluators.metrics.latency_ms`, so that values of different hours compare.
"""

from functools import partial
from typing import TYPE_CHECKING

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.metrics.evaluation_input import EvaluationInput, Evaluator
from paredown.evaluators.metrics.measurement import Measurement, Metric

if TYPE_CHECKING:
    from pathlib import Path

    from paredown.spaces.families.family import ImageShape

OPENINGS = 15
METRIC = Metric("cold_start_ms", "ms", "measured", decimals=2, untrained_tolerance=0.2)


def _measure(inputs: EvaluationInput) -> Measurement:
    from paredown.evaluators.device import this_device
    from paredown.evaluators.measurement_lock import measurement_lock
    from paredown.evaluators.metrics.latency_ms import absolute

    if inputs.file is None:
        raise EvaluationError("cold_start_ms: there is no exported file yet")
    start = partial(_start, inputs.file, inputs.shape, inputs.threads)
    with measurement_lock():
        taken = absolute(start, inputs.baseline, inputs.threads, OPENINGS, inputs.batch_size)
    return Measurement(METRIC.name, taken.median, taken.half_width, "measured", str(this_device(inputs.threads)))


def _start(file: "Path", shape: "ImageShape", threads: int) -> None:
    from paredown.evaluators.metrics.latency_ms import runner

    runner(file, shape, threads)()


COLD_START_MS = Evaluator(METRIC, "file", _measure, applies=lambda inputs: False)
