"""What an error in a trial means: the kind of failure, and the result of the trial."""

import errno
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from paredown.evaluators.errors import EvaluationError, NotFinite, TaskError, TrialTimeout
from paredown.spaces.errors import InfeasibleCandidate
from paredown.studies.result import CAUSE, Cause, TrialResult

CPU_MEMORY = "can't allocate memory"
"""PyTorch has no error of its own for memory of the processor: this is in the text of a RuntimeError."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
NO_SPACE = ("No space left on device", "Disk quota exceeded", "PytorchStreamWriter failed writing file")
"""What libraries that raise errors of their own say of a full disk."""
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
    if getattr(error, "errno", None) in DISK_FULL or any(words in text for words in NO_SPACE):
        return "disk_full"
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or CPU_MEMORY in text:
        return "out_of_memory"
    if isinstance(error, RuntimeError) and any(word in text for word in DEVICE):
        return "device_lost"
    return "exception"


def failure(error: Exception, facts: dict[str, Any], curve: tuple[tuple[int, Mapping[str, float]], ...]) -> TrialResult:
    """Return the result of a trial that an error has ended.

    Args:
        error: The error; one that nobody expects brings its traceback.
        facts: Facts of the trial by then.
        curve: Learning curve by then.
    """
    facts = facts | {CAUSE: cause_of(error)}
    if isinstance(error, EvaluationError | TaskError):
        return TrialResult("failed", str(error), {}, "", facts, curve)
    where = traceback.extract_tb(error.__traceback__)[-1]
    reason = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
    lines = "".join(traceback.format_exception(error))[-4000:]
    return TrialResult("failed", reason, {}, "", facts | {"traceback": lines}, curve)
