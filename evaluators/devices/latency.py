"""Latency on a device, predicted from a file: from published results of boards, or from a profile of a computer."""

from pathlib import Path
from typing import TYPE_CHECKING

from paredown.evaluators.metrics.measurement import Measurement

if TYPE_CHECKING:
    from paredown.evaluators.devices.profile import DeviceProfile

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
    if profile.latency_predictor is not None:
        from paredown.evaluators.latency.predictor import load_predictor

        predictor = load_predictor(Path(profile.latency_predictor))
        found = predictor.predict(file)
        device, low, high = str(predictor.facts["device"]), found.low_ms, found.high_ms
        return Measurement(NAME, found.value_ms, (high - low) / 2, "predicted", device, str(found))
    from paredown.evaluators.devices.board_latency import predict
    from paredown.evaluators.devices.operator_macs import operator_macs

    interval = predict(profile, operator_macs(file))
    spread = (interval.high_ms - interval.low_ms) / 2
    return Measurement(NAME, interval.value_ms, spread, "predicted", profile.id, str(interval))
