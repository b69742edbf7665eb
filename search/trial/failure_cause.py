"""What kind of failure ended a trial, by its error."""

import torch

from paredown.evaluators.errors import NotFinite, TrialTimeout
from paredown.spaces.errors import InfeasibleCandidate
from paredown.studies.result import Cause

CPU_MEMORY = "can't allocate memory"
"""PyTorch has no error of its own for memory of the processor: this is in the text of a RuntimeError."""
DEVICE = ("CUDA error", "device-side assert", "CUBLAS_STATUS", "CUDNN_STATUS")


def cause_of(error: Exception) -> Cause:
    """Return the kind of a failure."""
    if isinstance(error, InfeasibleCandidate):
        return "infeasible"
    if isinstance(error, TrialTimeout):
        return "timeout"
    if isinstance(error, NotFinite):
        return "non_finite"
    text = str(error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or CPU_MEMORY in text:
        return "out_of_memory"
    if isinstance(error, RuntimeError) and any(word in text for word in DEVICE):
        return "device_lost"
    return "exception"
