"""Memory that is freed and asked for again does not come from the system anew."""

import os
import platform
import subprocess
import sys

import pytest

STEPS = """
import resource, sys
import torch
from paredown.evaluators.training.freed_memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
    keep_freed_memory()  # once is enough

def step():
    tensors = [torch.zeros(1_000_000) for _ in range(10)]  # 4 MB each

for _ in range(10):  # the heap finds its size within three steps
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
RETURNED = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""glibc's first thresholds, held: it moves them by itself, so that whether a process gives memory back is chance."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_a_step_finds_the_memory_of_the_step_before() -> None:
    assert pages("kept") < pages("returned") / 100


def pages(way: str) -> int:
    """Return how many pages twenty steps ask the system for; memory goes back unless the process says otherwise."""
    command = [sys.executable, "-c", STEPS, way]
    found = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **RETURNED})
    return int(found.stdout)
