"""What a compression step is."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from paredown.spaces.knob import Knob, Knobs, Value


@dataclass
class Material:
    """What a transform may look at, and where it says what it did.

    Attributes:
        example: One input, `1 x c x h x w`.
        images: Some training inputs, normalised, `n x c x h x w`; None before training.
        labels: Their classes, `n`; None before training.
        decided: What the step chose by weights or images, as JSON, so that a network of the same shapes can be
            built again. Where it is not empty, the step does the same again instead of choosing.
        skipped: Layer to the reason why the step leaves it alone.
    """

    example: Tensor
    images: Tensor | None = None
    labels: Tensor | None = None
    decided: dict[str, Any] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass
class Calibration:
    """Training inputs that a rewrite may look at, and where it says what it left alone.

    Attributes:
        images: Normalised, `n x c x h x w`.
        labels: Their classes, `n`.
        skipped: Layer to the reason why the step leaves it alone.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hold:
    """What keeps a property of the weights through fine-tuning, such as zeros or a grid.

    Attributes:
        after_step: Called after each step of the optimizer with the share of fine-tuning that is done, up to 1;
            a call with 1 must leave the property whole, whatever came before.
        settled: The share of fine-tuning from which on the network is what it will be; earlier epochs do not
            count as its best.
    """

    after_step: Callable[[float], None]
    settled: float = 0.0


Transform = Callable[[nn.Module, Knobs, Material], nn.Module]
"""(network, knobs, material) -> new network; the given one is not touched."""

Attach = Callable[[nn.Module, Knobs, Material], nn.Module]
"""(untrained network, knobs, material without images) -> what is trained in its place; the given one is not touched."""

Finetuning = Callable[[nn.Module, Knobs], AbstractContextManager[Hold]]
"""(network, knobs) -> context in which it is fine-tuned; on leaving it, only weights have changed."""

Penalty = Callable[[nn.Module, Knobs], Tensor]
"""(network, knobs) -> scalar, added to the loss of training and fine-tuning."""

Loss = Callable[[Tensor, Tensor, Tensor, Knobs], Tensor]
"""(task loss, logits `n x classes`, teacher's logits `n x classes`, knobs) -> scalar loss."""

Rewrite = Callable[[bytes, Knobs, Calibration], bytes]
"""(ONNX model, knobs, calibration) -> new ONNX model."""


@dataclass(frozen=True)
class Step:
    """A compression method: its knobs and what it does, in any of six places.

    Attributes:
        name: Prefix of its knobs.
        knobs: Its knobs, without prefix.
        switch: The knob that turns it off.
        off: The value of `switch` at which the step does nothing.
        source: Paper and section.
        attach: Changes the untrained network, before anything else.
        transform: Changes the trained network; fine-tuning follows.
        finetuning: Holds something through fine-tuning.
        penalty: Adds to what training minimises.
        loss: Changes what training minimises.
        rewrite: Changes the exported file.
        shapes_known: Whether the costs of the untrained network are those of the trained one: the shapes that the
            transform gives follow from the knobs alone, and so does what an image passes through.
    """

    name: str
    knobs: Mapping[str, Knob]
    switch: str
    off: Value
    source: str
    attach: Attach | None = None
    transform: Transform | None = None
    finetuning: Finetuning | None = None
    penalty: Penalty | None = None
    loss: Loss | None = None
    rewrite: Rewrite | None = None
    shapes_known: bool = True
