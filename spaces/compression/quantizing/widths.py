"""How many bits the weights of each layer take."""

import functools
import platform
from pathlib import Path

from paredown.spaces.knob import Knobs

THIRDS = ("early", "middle", "late")
INT8 = 8
SAFE = 7
"""Weights of so many bits times activations of 8 fit the sums of 16 bits that x86 takes without VNNI."""
CPU_FILE = Path("/proc/cpuinfo")


@functools.cache
def sums_saturate() -> bool:
    """Tell whether this machine's int8 kernels clip sums of products with weights of 8 bits.

    x86 without VNNI adds pairs of products in 16 bits; what a CPU can is read where Linux says it, and elsewhere
    taken for no VNNI.

    Source:
        ONNX Runtime, Quantize ONNX Models, "When and why do I need to try U8U8?" (reduce_range).
    """
    if platform.machine().lower() not in {"x86_64", "amd64", "i686"}:
        return False
    return not CPU_FILE.is_file() or "vnni" not in CPU_FILE.read_text()


def width(at: int, layers: int, knobs: Knobs) -> int:
    """Return the bits of a layer's weights.

    Args:
        at: Its place in the order in which the layers run, from 0.
        layers: How many there are.
        knobs: Of the step; `mixed` takes the width of the layer's third, everything else 8. Where sums would
            saturate, 8 bits become 7.
    """
    bits = INT8 if knobs["weights"] != "mixed" else int(knobs[THIRDS[min(3 * at // layers, 2)]])
    in_integers = knobs.get("activations", "uint8") == "uint8"
    return min(bits, SAFE) if in_integers and sums_saturate() else bits
