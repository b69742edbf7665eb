"""Latency on a device, predicted from a file: from published results of boards, or from a profile of a computer."""

from pathlib import Path
from typing import TYPE_CHECKING

from paredown.evaluators.metrics.measurement import Measurement

if TYPE_CHECKING:
    from paredown.evaluators.devices.board_latency import Interval
    from paredown.evaluators.devices.profile import DeviceProfile
    from paredown.evaluators.latency.predictor import LatencyPrediction

NAME = "device_latency_ms"


def predicts(profile: "DeviceProfile") -> bool:
    """Return whether the latency on a device can be predicted."""
    from paredown.evaluators.devices import board_latency

    return profile.latency_predictor is not None or board_latency.predicts(profile)


def predicted(profile: "DeviceProfile", file: Path) -> Measurement:
    """Return the latency of a model on a device: the median of a 90 % interval, which stands in the note.

    Args:
        profile: A device for which `predicts` is true.
        file: The model: ONNX, or TensorFlow Lite for a microcontroller.

    Raises:
        DeviceError: The predictor beside the device file is missing or none, or the file is no model.
    """
    found = interval(profile, file)
    return Measurement(
        NAME, found.value_ms, (found.high_ms - found.low_ms) / 2, "predicted", _measured_on(profile), str(found)
    )


def interval(profile: "DeviceProfile", file: Path) -> "Interval | LatencyPrediction":
    """Return the same as an interval."""
    if profile.latency_predictor is not None:
        from paredown.evaluators.latency.predictor import load_predictor

        return load_predictor(Path(profile.latency_predictor)).predict(file)
    from paredown.evaluators.devices.board_latency import predict
    from paredown.evaluators.devices.operator_macs import operator_macs

    return predict(profile, operator_macs(file))


def _measured_on(profile: "DeviceProfile") -> str:
    """Return the device in the words of measurements, so that a prediction can stand beside one."""
    if profile.latency_predictor is None:
        return profile.id
    from paredown.evaluators.latency.predictor import load_predictor

    return str(load_predictor(Path(profile.latency_predictor)).facts["device"])
