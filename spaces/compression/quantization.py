"""Quantization of the exported file: half precision, or integers of 2 to 8 bits with or without calibrated activations.

int8: weights signed, one scale a channel; activations unsigned (signed ones run slower than float32 in
ONNX Runtime on x86); operators and their neighbours in QuantizeLinear/DequantizeLinear form. `mixed` takes one width
for each third of the layers, in the order in which they run.

Source:
    Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference, CVPR 2018, section 2; ONNX Runtime, Quantize ONNX Models, static quantization.
"""

from paredown.spaces.compression.quantizing import reverting
from paredown.spaces.compression.quantizing.awareness import on_the_grid, rounded
from paredown.spaces.compression.quantizing.halves import to_bfloat16, to_float16
from paredown.spaces.compression.quantizing.integers import IntegerModel
from paredown.spaces.compression.quantizing.ranges import IMAGES, METHODS
from paredown.spaces.compression.quantizing.widths import THIRDS
from paredown.spaces.compression.step import FileNeeds, RewriteContext, Step
from paredown.spaces.compression.tolerance import FLOAT32, Tolerance
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.knob import Choice, Knobs, Range

INTEGERS = ("int8", "mixed")
REMEDY = (
    "; try, of quantization: aware=true with some epochs of fine-tuning, max_drop=1 (the worst layers go back to "
    "float32), calibration=percentile or entropy, activations=fp32, or weights=fp16"
)
"""What helps where a file of few bits strays from its network."""
TOLERANCES = {
    "fp32": FLOAT32,
    "fp16": Tolerance("fp16", 2e-2, 0.99),
    "bf16": Tolerance("bf16", 5e-2, 0.98),  # 8 bits of mantissa to the 11 of float16
    "int8": Tolerance("int8", None, 0.9, REMEDY),
    # Few bits change what a network answers, and rightly so: the trial measured it. Layers may have gone back to
    # float32, all of them at worst, so the file lies between the trained network and the rounded one.
    "mixed": Tolerance("mixed", None, 0.9, REMEDY, rounded),
}
"""Values of the knob `weights`, each with how far its file may stray from the network."""


def _quantize(model: bytes, knobs: Knobs, calibration: RewriteContext) -> bytes:
    if knobs["weights"] == "fp16":
        return to_float16(model, calibration.excluded)
    if knobs["weights"] == "bf16":
        return to_bfloat16(model, calibration.excluded)
    # Bytes and speed do not depend on the ranges, so the fastest method will do for the untrained network.
    method = str(knobs.get("calibration", "minmax")) if calibration.trained else "minmax"
    integers = IntegerModel(
        model, knobs, calibration.images, method, calibration.target, calibration.part, calibration.excluded
    )
    if not integers.layers:
        raise InfeasibleCandidate("quantization: the network has no layer with constant weights")
    calibration.skipped |= integers.untreated
    max_drop = float(knobs.get("max_drop", 0.0))
    if max_drop and calibration.trained:
        return reverting.within_drop(model, integers, max_drop, calibration)
    return integers.written()


def _images(knobs: Knobs) -> int:
    return reverting.IMAGES if knobs.get("max_drop", 0.0) else IMAGES


def _is_aware(knobs: Knobs) -> bool:
    return bool(knobs.get("aware", False))


QUANTIZATION = Step(
    name="quantization",
    short="bits",
    knobs={
        "weights": Choice(tuple(TOLERANCES)),
        **{third: Range(2, 8, 1, only_if=("weights", "mixed")) for third in THIRDS},
        "activations": Choice(("uint8", "fp32"), only_if=("weights", INTEGERS)),
        "calibration": Choice(tuple(METHODS), only_if=("activations", "uint8")),
        "aware": Choice((False, True), only_if=("weights", INTEGERS)),
        "max_drop": Range(0.0, 5.0, 0.5, only_if=("weights", INTEGERS)),
    },
    switch="weights",
    off="fp32",
    finetuning=on_the_grid,
    finetunes=_is_aware,
    rewrite=_quantize,
    file_needs=FileNeeds(_images, lambda knobs: TOLERANCES[str(knobs["weights"])]),
    source="Jacob et al., CVPR 2018",
)
