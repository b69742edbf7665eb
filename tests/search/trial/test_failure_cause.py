"""Failures are told apart by what to do about them."""

import pytest
import torch

from paredown.evaluators.errors import EvaluationError, NotFinite, TaskError, TrialTimeout
from paredown.search.trial.failure_cause import cause_of
from paredown.spaces.errors import InfeasibleCandidate


def raised_by_a_full_memory() -> Exception:
    try:
        torch.empty(2**55)
    except RuntimeError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (InfeasibleCandidate("too large"), "infeasible"),
        (TrialTimeout("too long"), "timeout"),
        (NotFinite("the loss is nan"), "non_finite"),
        (MemoryError(), "out_of_memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (raised_by_a_full_memory(), "out_of_memory"),
        (torch.AcceleratorError("CUDA error: unspecified launch failure"), "device_lost"),
        (EvaluationError("about a CUDA error: in words"), "exception"),
        (TaskError("gone"), "exception"),
        (ZeroDivisionError(), "exception"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_the_cause_follows_from_the_error(error: Exception, cause: str) -> None:
    assert cause_of(error) == cause
