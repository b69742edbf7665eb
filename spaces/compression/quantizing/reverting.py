"""Accuracy-aware quantization: the layers that cost most accuracy go back to float32 until the rest costs little.

Source:
    Wu et al., Integer Quantization for Deep Learning Inference, 2020, section 5.1 (partial quantization: sensitivity
    of single layers, the most sensitive ones first).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paredown.spaces.compression.quantizing.integers import IntegerModel, Layer
from paredown.spaces.compression.step import RewriteContext

IMAGES = 512
"""Inputs on which accuracy is compared: one of them is 0.2 points."""
BATCH = 64


def within_drop(model: bytes, integers: IntegerModel, max_drop: float, calibration: RewriteContext) -> bytes:
    """Return the ONNX model with as few float32 layers as the greedy order allows.

    Layers are put in order by the cross-entropy that each one costs when it alone is quantised. Where even the
    last one has to go back, the float32 model itself is returned.

    Args:
        model: The float32 model.
        integers: The same, ready to be written.
        max_drop: Accuracy that may be lost on the calibration inputs, in percentage points.
        calibration: Inputs and classes; takes the layers that went back.
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
    logits = _logits(model, calibration.images).astype(np.float64)
    logits -= logits.max(1, keepdims=True)
    rows = np.arange(len(logits))
    losses = np.log(np.exp(logits).sum(1)) - logits[rows, calibration.labels]
    return float((logits.argmax(1) == calibration.labels).mean()), float(losses.mean())


def _logits(model: bytes, images: NDArray[np.float32]) -> NDArray[np.float32]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    parts: list[Any] = [session.run(None, {name: images[i : i + BATCH]})[0] for i in range(0, len(images), BATCH)]
    return np.concatenate(parts)
