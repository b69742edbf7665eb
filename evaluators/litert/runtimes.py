"""Runs TensorFlow Lite files, each in a process of its own: in TensorFlow Lite Micro, and in LiteRT beside it."""

import functools
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.litert.runtime_process import LITERT, MICRO, XNNPACK
from paredown.evaluators.litert.signature import Signature

PROGRAM = "paredown.evaluators.litert.runtime_process"
NAMES = {MICRO: "TensorFlow Lite Micro", LITERT: "LiteRT", XNNPACK: "LiteRT with XNNPACK"}
ALLOCATED = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")
KEPT_ARENAS = 256
"""Maximum number of files whose arena is kept: one file serves many devices."""


@dataclass(frozen=True)
class Arena:
    """The memory that TensorFlow Lite Micro takes for a file, as its own allocator counts it on a 64-bit host.

    Attributes:
        total: Bytes in all.
        head: Bytes of tensors and scratch buffers.
        tail: Bytes of what lives as long as the interpreter; pointers make it larger than on a 32-bit target.
    """

    total: int
    head: int
    tail: int


def run_micro(model: bytes, images: NDArray[np.int8]) -> tuple[NDArray[np.int8], Arena]:
    """Run a file in TensorFlow Lite Micro; return the outputs `n x classes` and its arena.

    Args:
        model: TensorFlow Lite.
        images: Integers `n x h x w x c`, at least one image.

    Raises:
        EvaluationError: The file cannot be loaded or run.
    """
    outputs, said = _run(MICRO, model, images)
    allocated = {name: int(count) for name, count in ALLOCATED.findall(said)}
    if allocated.keys() != {"total", "head", "tail"}:
        raise EvaluationError(f"{NAMES[MICRO]} does not say how it filled its arena")
    return outputs, Arena(**allocated)


def run_litert(model: bytes, images: NDArray[np.int8], *, xnnpack: bool = False) -> NDArray[np.int8]:
    """Run a file in LiteRT; return the outputs `n x classes`.

    Args:
        model: TensorFlow Lite.
        images: Integers `n x h x w x c`, at least one image.
        xnnpack: Whether its fast kernels run, which scale sums in float, in place of the reference kernels.

    Raises:
        EvaluationError: The file cannot be loaded or run.
    """
    return _run(XNNPACK if xnnpack else LITERT, model, images)[0]


@functools.lru_cache(maxsize=KEPT_ARENAS)
def arena(model: bytes) -> Arena:
    """Return the memory that TensorFlow Lite Micro takes for a file.

    Raises:
        EvaluationError: The file cannot be loaded or run.
    """
    return run_micro(model, np.zeros(Signature.of(model).shape, np.int8))[1]


def _run(runtime: str, model: bytes, images: NDArray[np.int8]) -> tuple[NDArray[np.int8], str]:
    with tempfile.TemporaryDirectory(prefix="paredown-") as name:
        folder = Path(name)
        (folder / "model.tflite").write_bytes(model)
        np.save(folder / "images.npy", images)
        command = [sys.executable, "-m", PROGRAM, runtime, name]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            raise EvaluationError(f"{NAMES[runtime]} cannot load or run the file: {_reason(done)}")
        return np.load(folder / "outputs.npy"), done.stderr


def _reason(done: "subprocess.CompletedProcess[str]") -> str:
    if done.returncode < 0:
        return f"it ended by signal {-done.returncode}"
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
