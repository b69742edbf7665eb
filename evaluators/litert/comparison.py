"""How far runtimes differ on one int8 model: TensorFlow Lite Micro, LiteRT and ONNX Runtime."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.evaluators.litert.runtimes import Arena, run_litert, run_micro
from paredown.evaluators.litert.signature import Signature


@dataclass(frozen=True)
class Comparison:
    """Largest differences of an output, in steps of its int8 grid.

    Attributes:
        images: Number of images.
        litert_steps: TensorFlow Lite Micro and LiteRT.
        litert_equal: Share of outputs that are equal in these two.
        xnnpack_steps: LiteRT's fast kernels and ONNX Runtime, which both scale sums in float: what is left is the
            difference of the files.
        onnx_steps: TensorFlow Lite Micro and ONNX Runtime, which clips no sums here whatever the processor.
        onnx_mean_steps: The same, mean.
        agreement: Share of images to which the ONNX file gives the same class.
        arena: Memory that TensorFlow Lite Micro took.
    """

    images: int
    litert_steps: int
    litert_equal: float
    xnnpack_steps: int
    onnx_steps: int
    onnx_mean_steps: float
    agreement: float
    arena: Arena


def compare(onnx: bytes, model: bytes, images: NDArray[np.float32]) -> Comparison:
    """Run an ONNX file and the TensorFlow Lite file made from it on normalised images `n x c x h x w`.

    Raises:
        EvaluationError: A file cannot be loaded or run.
    """
    signature = Signature.of(model)
    integers = signature.quantised(images)
    micro, arena = run_micro(model, integers)
    beside = np.abs(micro.astype(int) - run_litert(model, integers))
    expected = logits(open_session(onnx, exact=True), images)
    steps = np.rint(expected / signature.made.scale) + signature.made.zero_point
    apart, fast = np.abs(micro - steps), np.abs(run_litert(model, integers, xnnpack=True) - steps)
    return Comparison(
        len(images),
        int(beside.max()),
        float((beside == 0).mean()),
        int(fast.max()),
        int(apart.max()),
        float(apart.mean()),
        float((micro.argmax(1) == expected.argmax(1)).mean()),
        arena,
    )
