"""Measures one model on this machine as a device says: threads, images of one run, and a reference beside it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paredown.evaluators.device import this_device
from paredown.evaluators.errors import DeviceError, EvaluationError
from paredown.evaluators.latency.apart import apart
from paredown.evaluators.latency.instructions import KEY, instructions_here
from paredown.evaluators.measurement_lock import measurement_lock
from paredown.evaluators.metrics.latency_ms import (
    PAIRS,
    batched,
    clock,
    median_with_interval,
    paired_times,
    with_sessions,
)
from paredown.evaluators.metrics.measurement import Measurement

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from paredown.evaluators.devices.profile import DeviceProfile

UNSTEADY = 0.03
"""Drift of the reference above which a measurement is to be repeated."""
REFERENCE_SEED = 5
MEASURED = "allowed: host, or a file that `paredown device profile` wrote here"


@dataclass(frozen=True)
class MeasuredModel:
    """What a model took on this machine.

    Attributes:
        latency: Median of one run, in ms.
        p90_ms: 90th percentile of single runs.
        throughput_ips: Images a second in runs of that size.
        batch_size: Images of one run.
        reference_ms: What the reference took at the beginning.
        reference_drift: Share by which it took longer at the end.
        predicted: What the device predicts; None where it does not.
        remarks: What to know before the number is trusted.
    """

    latency: Measurement
    p90_ms: float
    throughput_ips: float
    batch_size: int
    reference_ms: float
    reference_drift: float
    predicted: Measurement | None
    remarks: tuple[str, ...]


def measured(file: Path, profile: "DeviceProfile") -> MeasuredModel:
    """Return what a model takes on this machine.

    Half of the pairs begin with the reference. Its own time at the beginning and at the end tells how far the machine
    has drifted meanwhile.

    Args:
        file: ONNX.
        profile: The device, which is this machine.

    Raises:
        DeviceError: The device runs other files, or is another machine.
        EvaluationError: ONNX Runtime cannot load or run the model; the message names the file.
    """
    from paredown.evaluators.devices.latency import predicted, predicts
    from paredown.evaluators.files.onnx_session import open_session
    from paredown.evaluators.latency.block_networks import block_network

    _require_here(profile)
    threads, now = profile.threads, clock(profile.threads)
    model, shape = block_network(REFERENCE_SEED, "fp32")
    try:
        session = open_session(file, threads)
    except EvaluationError as error:
        raise EvaluationError(f"{file}: {error}") from error
    run, images = _runnable(session, file, profile.batch_size)
    reference = batched(open_session(model, threads), shape, 1)
    with measurement_lock():
        first = median_with_interval(paired_times(reference, reference, PAIRS // 2, now)[0].slices)[0]
        own, beside = paired_times(run, reference, 2 * PAIRS, now)
        last = median_with_interval(paired_times(reference, reference, PAIRS // 2, now)[0].slices)[0]
    ratio, half_width = median_with_interval(own.slices / beside.slices)
    median_ms = 1e3 * first * ratio
    spread = with_sessions(median_ms, 1e3 * first * half_width)
    latency = Measurement("latency_ms", median_ms, spread, "measured", str(this_device(threads, images)))
    expected = predicted(profile, file) if predicts(profile) else None
    drift = last / first - 1
    return MeasuredModel(
        latency,
        median_ms * own.tail,
        1e3 * images / median_ms,
        images,
        1e3 * first,
        drift,
        expected,
        tuple(_remarks(latency, expected, drift)),
    )


def _runnable(session: "InferenceSession", file: Path, batch_size: int) -> tuple[Callable[[], object], int]:
    """Return what runs a session once, and on how many images; it has run, so that it can.

    Raises:
        EvaluationError: The model takes something else than images of one size.
    """
    entry = session.get_inputs()[0]
    images = entry.shape[0] if entry.shape and isinstance(entry.shape[0], int) else batch_size
    if (
        len(session.get_inputs()) > 1
        or entry.type != "tensor(float)"
        or not all(isinstance(side, int) for side in entry.shape[1:])
    ):
        raise EvaluationError(
            f"{file}: takes {', '.join(f'{one.type} {one.shape}' for one in session.get_inputs())}; allowed: one input "
            "of floating-point numbers, of which the number of images alone may be left open"
        )
    run = batched(session, tuple(entry.shape[1:]), images)
    try:
        run()
    except Exception as error:  # ONNX Runtime's exception classes share no root but Exception
        raise EvaluationError(f"{file}: ONNX Runtime cannot run the model: {error}") from error
    return run, images


def _remarks(latency: Measurement, expected: Measurement | None, drift: float) -> list[str]:
    remarks = [apart(latency, expected)] if expected is not None else []
    if abs(drift) > UNSTEADY:
        remarks.append(f"the machine is unsteady: the reference drifted by {drift:+.1%}; measure again")
    return [remark for remark in remarks if remark]


def _require_here(profile: "DeviceProfile") -> None:
    here = this_device()
    if profile.format != "onnx":
        raise DeviceError(
            f"--device: {profile.id} runs {profile.format} files on {profile.engine}, not on this machine; {MEASURED}"
        )
    if profile.processor != here.name:
        raise DeviceError(
            f"--device: this machine is not {profile.id}: that is {profile.processor}, this machine is {here.name}; "
            f"{MEASURED}"
        )
    if profile.latency_predictor is not None:
        from paredown.evaluators.latency.predictor import load_predictor

        profiled = load_predictor(Path(profile.latency_predictor)).facts.get(KEY, instructions_here().name)
        if profiled != instructions_here().name:  # rented machines hide their models behind one name
            raise DeviceError(
                f"--device: {profile.id} was profiled with {profiled} instructions, this machine computes with "
                f"{instructions_here().name}; measure on that machine"
            )
