"""The width of each layer's weights, in bits."""

from paredown.spaces.compression.target import Target
from paredown.spaces.knob import Knobs

THIRDS = ("early", "middle", "late")
INT8 = 8


def width(at: int, layers: int, knobs: Knobs, target: Target) -> int:
    """Return the width of a layer's weights, in bits.

    Args:
        at: Its place in the order in which the layers run, from 0.
        layers: Number of layers.
        knobs: Knobs of the step; `mixed` takes the width of the layer's third, everything else 8.
        target: The device; where it computes in integers, no weight is wider than its kernels multiply exactly.
    """
    bits = INT8 if knobs["weights"] != "mixed" else int(knobs[THIRDS[min(3 * at // layers, 2)]])
    in_integers = knobs.get("activations", "uint8") == "uint8"
    return min(bits, target.int8_weight_bits) if in_integers else bits
