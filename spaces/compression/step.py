"""What a compression step is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from paredown.spaces.knob import Knob, Knobs, Value

Transform = Callable[[nn.Module, Knobs, Tensor], nn.Module]
"""(network, knobs, one example input `1 x c x h x w`) -> new network; the given one is not touched."""

Loss = Callable[[Tensor, Tensor, Tensor, Knobs], Tensor]
"""(task loss, logits `n x classes`, teacher's logits `n x classes`, knobs) -> scalar loss."""

Rewrite = Callable[[bytes, Knobs, NDArray[np.float32]], bytes]
"""(ONNX model, knobs, calibration inputs `n x c x h x w`) -> new ONNX model."""


@dataclass(frozen=True)
class Step:
    """A compression method: its knobs and what it does, in any of three places.

    Attributes:
        name: Prefix of its knobs.
        knobs: Its knobs, without prefix.
        switch: The knob that turns it off.
        off: The value of `switch` at which the step does nothing.
        source: Paper and section.
        transform: Changes the trained network; fine-tuning follows.
        loss: Changes what training minimises.
        rewrite: Changes the exported file.
    """

    name: str
    knobs: Mapping[str, Knob]
    switch: str
    off: Value
    source: str
    transform: Transform | None = None
    loss: Loss | None = None
    rewrite: Rewrite | None = None
