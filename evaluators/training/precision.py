"""The precision of training: the number format of the forward and backward passes.

Weights, their gradients and the optimizer's state are float32 throughout. The precision of the exported file is another
matter: the step `quantization`.

Source:
    Micikevicius et al., Mixed Precision Training, ICLR 2018, sections 3.1 (float32 master weights) and 3.2
    (loss scaling); Kalamkar et al., A Study of BFLOAT16 for Deep Learning Training, 2019.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Precision = Literal["fp32", "tf32", "fp16", "bf16"]
HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Arithmetic:
    """The arithmetic of one training run.

    Attributes:
        device: Device of the computation.
        dtype: Type of the passes under autocast; None without autocast.
        scaler: Scaler that keeps float16 gradients from underflowing on CUDA; it does nothing elsewhere.
    """

    device: torch.device
    dtype: torch.dtype | None
    scaler: torch.amp.GradScaler

    def forward(self) -> contextlib.AbstractContextManager[None]:
        """Return the context of a forward pass."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None)

    def step(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Drop the gradients of the previous step, compute new ones and let the optimizer step."""
        optimizer.zero_grad()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(optimizer)
        self.scaler.update()


@contextlib.contextmanager
def arithmetic(precision: Precision, device: torch.device) -> Iterator[Arithmetic]:
    """Set up a precision for the duration of a training run, and restore what was set before."""
    matmul = torch.backends.cuda.matmul
    convolution = torch.backends.cudnn.conv  # type: ignore[attr-defined]  # made when torch is imported
    before = matmul.fp32_precision, convolution.fp32_precision
    single = "tf32" if precision == "tf32" else "ieee"
    try:
        if device.type == "cuda":
            matmul.fp32_precision = convolution.fp32_precision = single
        scaled = precision == "fp16" and device.type == "cuda"
        yield Arithmetic(device, _dtype(precision, device), torch.amp.GradScaler(device.type, enabled=scaled))
    finally:
        matmul.fp32_precision, convolution.fp32_precision = before


def effect(precision: Precision, device: torch.device) -> str:
    """Return a description of a precision's effect on a device, for the facts of a trial."""
    if precision == "fp32":
        return "float32"
    if precision == "tf32":
        if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
            return "TF32 products of float32 numbers"
        return f"no effect on this device ({device.type}): it has no TF32"
    if _dtype(precision, device) is None:
        return f"no effect on this device ({device.type}): no autocast to {precision} with loss scaling"
    scaling = ", loss scaling" if precision == "fp16" and device.type == "cuda" else ""
    return f"autocast to {precision}, float32 master weights{scaling}"


def _dtype(precision: Precision, device: torch.device) -> torch.dtype | None:
    dtype = HALVES.get(precision)
    if dtype is None or not torch.amp.is_autocast_available(device.type):
        return None
    if dtype == torch.float16 and device.type == "cpu":
        return None  # float16 is slow on CPUs, and its gradients would need loss scaling
    return dtype
