"""Images a second of the exported file on this machine, many at once, on the threads of the study's device.

A batch is `BATCH_SIZE` images, or that of the device where its file names one larger than 1; a file that takes one
image at a time (with early exits) is run so. On one thread more images a call gain little beyond that size, since the
call itself no longer takes time, and tensors leave the cache. Batches are paired with runs of the baseline, as
in `paredown.evaluators.metrics.latency_ms`, so that values of different hours compare.
"""

from typing import TYPE_CHECKING

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.metrics.evaluation_input import EvaluationInput, Evaluator
from paredown.evaluators.metrics.measurement import Measurement, Metric

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

BATCH_SIZE = 32
METRIC = Metric(
    "throughput_ips",
    "images/s",
    "measured",
    higher_is_better=True,
    decimals=0,
    shows_unit=False,
    untrained_tolerance=0.1,
)


def _measure(inputs: EvaluationInput) -> Measurement:
    from paredown.evaluators.device import this_device
    from paredown.evaluators.files.onnx_session import open_session
    from paredown.evaluators.measurement_lock import measurement_lock
    from paredown.evaluators.metrics.latency_ms import absolute, batched

    if inputs.file is None:
        raise EvaluationError("throughput_ips: there is no exported file yet")
    session = open_session(inputs.file, inputs.threads)
    size = batch_size(session, inputs)
    with measurement_lock():
        batch = absolute(
            batched(session, inputs.shape, size), inputs.baseline, inputs.threads, batch_size=inputs.batch_size
        )
    spread = batch.half_width / batch.median
    value = 1e3 * size / batch.median
    return Measurement(
        METRIC.name,
        value,
        value * spread,
        "measured",
        str(this_device(inputs.threads, size)),
        note=f"{size} images at once",
    )


def batch_size(session: "InferenceSession", inputs: EvaluationInput) -> int:
    """Return the number of images that run at once."""
    first = session.get_inputs()[0].shape[0]
    if isinstance(first, int):
        return first
    return inputs.batch_size if inputs.batch_size > 1 else BATCH_SIZE


THROUGHPUT_IPS = Evaluator(METRIC, "file", _measure, applies=lambda inputs: False)
