"""What a compression step must know of the device for which a file is made."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """Properties of the device's arithmetic that decide how a network is compressed.

    Attributes:
        int8_weight_bits: Width of the widest weight that integer kernels multiply exactly by an 8-bit activation: 8,
            or 7 where they add pairs of products in 16 bits and clip the sum.
    """

    int8_weight_bits: int = 8
