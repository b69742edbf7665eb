"""Networks with exits for tests: small, untrained, made to leave at every exit."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from paredown.evaluators.files.exit_file import export_stages, stitched
from paredown.spaces.compression.early_exit import EARLY_EXIT
from paredown.spaces.compression.step import TransformContext
from paredown.spaces.exits.network import MultiExit

SHAPE, CLASSES = (1, 16, 16), 5
KNOBS: dict[str, Any] = {
    "exits": 2,
    "after": "",
    "head": "linear",
    "rule": "confidence",
    "threshold": 0.5,
    "weight": 0.5,
}


def plain() -> nn.Sequential:
    """Three stages of one convolution each, 16, 8 and 4 pixels wide, and a classifier."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 8, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, CLASSES),
    )


def images(count: int = 60) -> Tensor:
    """Coarse patterns, each one different."""
    coarse = torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, SHAPE[1:])


def attach(network: nn.Module, shape: tuple[int, int, int] = SHAPE, **knobs: Any) -> MultiExit:
    """Give a network exits."""
    assert EARLY_EXIT.attach is not None
    multi = EARLY_EXIT.attach(network, KNOBS | knobs, TransformContext(torch.zeros(1, *shape)))
    assert isinstance(multi, MultiExit)
    return multi.eval()


def multi_exit(**knobs: Any) -> MultiExit:
    """The plain network with exits whose logits spread alike around 0: some images are easy, others are not."""
    torch.manual_seed(0)
    multi = attach(plain(), **knobs)
    with torch.no_grad():
        for head, logits in zip(multi.heads, multi.all_logits(images()), strict=False):
            factor = 1.5 / logits.std(0)
            head[-1].weight *= factor[:, None]
            head[-1].bias.copy_(factor * (head[-1].bias - logits.mean(0)))
    return multi


def exported(network: MultiExit, calibration: NDArray[np.float32] | None = None) -> bytes:
    """The file of a network with exits."""
    images_ = np.zeros((1, *SHAPE), np.float32) if calibration is None else calibration
    stages = export_stages(network, SHAPE, images_, lambda model, inputs: model)
    return stitched(stages, network.rule, CLASSES)
