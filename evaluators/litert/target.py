"""What a file for a microcontroller depends on beside the network."""

from dataclasses import dataclass
from typing import Literal

Granularity = Literal["channel", "tensor"]
NPUS = (
    *("ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256", "ethos-u65-256", "ethos-u65-512"),
    *("ethos-u85-128", "ethos-u85-256", "ethos-u85-512", "ethos-u85-1024", "ethos-u85-2048"),
)
"""What Vela compiles for, as its `--accelerator-config` takes it; Vela itself need not be installed."""
NPU = "ethos-u55-128"
"""NPU for which cycles are predicted where no device is named, as Vela's `--accelerator-config` takes it."""


@dataclass(frozen=True)
class McuTarget:
    """A microcontroller and its engine.

    Attributes:
        granularity: Whether weights have one scale a channel or one a tensor.
        engine_code_bytes: Bytes of the engine's code in flash; 0 where no device is named.
        npu: NPU and number of multipliers, as Vela's `--accelerator-config` takes it.
    """

    granularity: Granularity = "channel"
    engine_code_bytes: int = 0
    npu: str = NPU


NO_DEVICE = McuTarget()
"""Where no device is named."""
