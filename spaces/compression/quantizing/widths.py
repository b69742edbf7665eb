"""How many bits the weights of each layer take."""

from paredown.spaces.knob import Knobs

THIRDS = ("early", "middle", "late")
INT8 = 8


def width(at: int, layers: int, knobs: Knobs) -> int:
    """Return the bits of a layer's weights.

    Args:
        at: Its place in the order in which the layers run, from 0.
        layers: How many there are.
        knobs: Of the step; `mixed` takes the width of the layer's third, everything else 8.
    """
    if knobs["weights"] != "mixed":
        return INT8
    return int(knobs[THIRDS[min(3 * at // layers, 2)]])
