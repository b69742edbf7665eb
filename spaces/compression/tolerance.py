"""How far the exported file of a compressed network may stray from the network itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for annotations alone: what reads exported files does so without PyTorch
    from torch import Tensor, nn

    from paredown.spaces.knob import Knobs


@dataclass(frozen=True)
class Tolerance:
    """How far a file may stray from the trained network.

    Attributes:
        precision: How messages name the numbers of the file, such as fp16.
        error: Largest difference of a logit, as a share of the largest logit; None where only labels count.
        agreement: Least share of images with the same label.
        remedy: What to try where fewer agree, as the end of a message.
        network: (trained network, knobs of the step, one input) -> the network with its weights as narrow as the
            file's, with which the file is compared where that is nearer; None: the trained network alone counts.
    """

    precision: str
    error: float | None
    agreement: float
    remedy: str = ""
    network: "Callable[[nn.Module, Knobs, Tensor], nn.Module] | None" = None


FLOAT32 = Tolerance("fp32", 1e-3, 0.999)
"""Tolerance of a file whose numbers are those of the network."""
