"""Quantization of the exported file: float16, or int8 with calibrated activations.

int8: weights signed, one scale a channel; activations unsigned (signed ones run slower than float32 in
ONNX Runtime on x86); operators and their neighbours in QuantizeLinear/DequantizeLinear form.

Source:
    Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference, CVPR 2018, section 2; ONNX Runtime, Quantize ONNX Models, static quantization.
"""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from paredown.spaces.compression.step import Calibration, Step
from paredown.spaces.knob import Choice, Knobs


def _quantize(model: bytes, knobs: Knobs, calibration: Calibration) -> bytes:
    return _to_float16(model) if knobs["weights"] == "fp16" else _to_int8(model, calibration.images)


def _to_float16(model: bytes) -> bytes:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        # Weights below the smallest float16 become that number; the converter warns of each one.
        warnings.simplefilter("ignore", UserWarning)
        narrow = convert_float_to_float16(onnx.load_from_string(model), keep_io_types=True)
    return bytes(narrow.SerializeToString())


def _to_int8(model: bytes, calibration: NDArray[np.float32]) -> bytes:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    logging.getLogger().addFilter(_is_not_advice)
    try:
        with tempfile.TemporaryDirectory() as folder:
            prepared, quantized = Path(folder, "prepared.onnx"), Path(folder, "quantized.onnx")
            quant_pre_process(onnx.load_from_string(model), prepared)
            quantize_static(
                prepared,
                quantized,
                _Reader(onnx.load(prepared).graph.input[0].name, calibration),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            return quantized.read_bytes()
    finally:
        logging.getLogger().removeFilter(_is_not_advice)


def _is_not_advice(record: logging.LogRecord) -> bool:
    """Tell the quantizer's advice to pre-process, given even after it was taken, from real warnings."""
    return "pre-processing before quantization" not in record.getMessage()


class _Reader:
    """Feeds the calibration inputs one by one, as ONNX Runtime's calibrator asks for them."""

    def __init__(self, name: str, images: NDArray[np.float32]) -> None:
        self._batches: Iterator[dict[str, NDArray[np.float32]]] = iter(
            [{name: images[i : i + 1]} for i in range(len(images))]
        )

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next input, or None at the end."""
        return next(self._batches, None)


QUANTIZATION = Step(
    name="quantization",
    knobs={"weights": Choice(("fp32", "fp16", "int8"))},
    switch="weights",
    off="fp32",
    rewrite=_quantize,
    source="Jacob et al., CVPR 2018",
)
