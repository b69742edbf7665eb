"""Whether what was predicted of a model is far from what was measured."""

from paredown.evaluators.metrics.measurement import Measurement

APART = 0.2
"""Share by which a measurement and a prediction may differ before tables say so."""


def apart(measured: Measurement, predicted: Measurement) -> str:
    """Return in words that a prediction is far from a measurement on the same device; empty where it is not.

    Args:
        measured: Measured on this machine, or on another one: then its device is `NAME (DEVICE)`.
        predicted: Of the same model.
    """
    share = predicted.value / measured.value - 1 if measured.value else 0.0
    is_same = predicted.device == measured.device or measured.device.endswith(f"({predicted.device})")
    if not is_same or abs(share) <= APART:
        return ""
    return f"predicted and measured apart: {predicted.value:.3g} ms was predicted, {share:+.0%}"
