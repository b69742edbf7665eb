"""The ranges of activations, from calibration inputs.

Source:
    Wu et al., Integer Quantization for Deep Learning Inference, 2020, section 3 (max, percentile, entropy);
    Migacz, 8-bit Inference with TensorRT, GTC 2017 (entropy). Both as in ONNX Runtime.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

METHODS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "minmax": ("MinMax", {}),
    "percentile": ("Percentile", {"percentile": 99.99, "symmetric": False}),
    "entropy": ("Entropy", {}),
}
"""Value of the knob `calibration` to ONNX Runtime's name and options."""
IMAGES = 64
"""So many inputs are looked at: the histograms hold every activation of all of them."""


def activation_ranges(prepared: Path, operators: list[str], images: NDArray[np.float32], method: str) -> Any:
    """Return ONNX Runtime's `TensorsData` of the model's activations.

    Args:
        prepared: The ONNX model, with shapes.
        operators: Types of those whose inputs and outputs are looked at.
        images: Normalised, `n x c x h x w`; `IMAGES` of them are used, evenly spread.
        method: One of `METHODS`.
    """
    import onnx
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    name, options = METHODS[method]
    spread = images[:: max(1, len(images) // IMAGES)][:IMAGES]  # the others may come class by class
    with contextlib.redirect_stdout(io.StringIO()):  # the calibrators tell of their progress
        calibrator = create_calibrator(
            prepared,
            operators,
            augmented_model_path=str(prepared.with_name("augmented.onnx")),
            calibrate_method=CalibrationMethod[name],
            extra_options=dict(options),
        )
        calibrator.collect_data(_Reader(onnx.load(prepared).graph.input[0].name, spread))
        return calibrator.compute_data()


class _Reader:
    """Feeds the calibration inputs one by one, as ONNX Runtime's calibrator asks for them."""

    def __init__(self, name: str, images: NDArray[np.float32]) -> None:
        self._batches: Iterator[dict[str, NDArray[np.float32]]] = iter(
            [{name: images[i : i + 1]} for i in range(len(images))]
        )

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next input, or None at the end."""
        return next(self._batches, None)
