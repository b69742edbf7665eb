"""Accuracy-aware quantization: the layers that cost most accuracy go back to float32 until the rest costs little.

Source:
    Wu et al., Integer Quantization for Deep Learning Inference, 2020, section 5.1 (partial quantization: sensitivity
    of single layers, the most sensitive ones first).
"""

import numpy as np

from paredown.spaces.compression.quantizing.integers import IntegerModel, Layer
from paredown.spaces.compression.step import RewriteContext
from paredown.spaces.errors import SpaceError

IMAGES = 512
"""Inputs on which accuracy is compared: one of them is 0.2 points."""


def within_drop(model: bytes, integers: IntegerModel, max_drop: float, calibration: RewriteContext) -> bytes:
    """Return the ONNX model with as few float32 layers as the greedy order allows.

    Layers are put in order by the cross-entropy that each one costs when it alone is quantised. Where even the
    last one has to go back, the float32 model itself is returned.

    Args:
        model: The float32 model.
        integers: The same, ready to be written.
        max_drop: Accuracy that may be lost on the calibration inputs, in percentage points.
        calibration: Inputs and classes, and what executes a model; takes the layers that went back.

    Raises:
        SpaceError: The calibration has nothing that executes a model.
    """
    reference, _ = _judged(model, calibration)
    written = integers.written()
    if _drop(reference, written, calibration) <= max_drop:
        return written
    costs = {layer: _judged(integers.written(only=layer), calibration)[1] for layer in integers.layers}
    floating: list[Layer] = []
    for layer in sorted(costs, key=lambda layer: -costs[layer]):
        drop = _drop(reference, written, calibration)
        floating.append(layer)
        reason = f"float32: with it in {layer.bits} bits the accuracy drops by {drop:.2f} points, allowed: {max_drop:g}"
        calibration.skipped |= dict.fromkeys(layer.nodes, reason)
        written = integers.written(floating) if len(floating) < len(integers.layers) else model
        if _drop(reference, written, calibration) <= max_drop:
            break
    return written


def _drop(reference: float, model: bytes, calibration: RewriteContext) -> float:
    return 100 * (reference - _judged(model, calibration)[0])


def _judged(model: bytes, calibration: RewriteContext) -> tuple[float, float]:
    """Return accuracy and cross-entropy on the calibration inputs."""
    if calibration.run is None:
        raise SpaceError("quantization.max_drop: accuracy is compared by running the file, and nothing here runs it")
    logits = calibration.run(model, calibration.images).astype(np.float64)
    logits -= logits.max(1, keepdims=True)
    rows = np.arange(len(logits))
    losses = np.log(np.exp(logits).sum(1)) - logits[rows, calibration.labels]
    return float((logits.argmax(1) == calibration.labels).mean()), float(losses.mean())
