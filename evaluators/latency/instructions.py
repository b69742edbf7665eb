"""How ONNX Runtime's kernels for an instruction set divide the work: how much one instruction, one step, one call does.

Source:
    ONNX Runtime 1.32, core/mlas/lib (platform.cpp, snchwc.cpp, qgemm_kernel_avx2.cpp, convsym.cpp) and
    core/mlas/lib/x86_64 (SconvKernelAvx512F.S, SconvKernelFma3.S, FgemmKernelFma3Common.h, QgemmU8X8KernelAvx2.S,
    ConvSymKernelAvx2.S).
"""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from paredown.evaluators.device import CPU_FILE, X86


@dataclass(frozen=True)
class Instructions:
    """What the kernels for an instruction set compute at a time.

    Attributes:
        name: Its name, which a predictor's file keeps.
        vector: Numbers of 32 bits in a register, and channels of a block.
        positions: Positions of a line that a convolution on blocks computes at once: as many as fit, then fewer.
        rows: Rows of a product of floating-point numbers that one step computes.
        columns: Columns of it.
        integer_rows: Rows of a product of integers that one step computes.
        product_vectors: Vectors of outputs of a product of integers that one step computes.
        symmetric_rows: Rows of a symmetric convolution that one step computes.
        symmetric_vectors: Vectors of outputs of a symmetric convolution that one step computes.
        symmetric_pairs: Whether it computes two rows and two vectors also where one is left.
        symmetric_multiple: What the outputs of a symmetric convolution are a multiple of.
        integer_latency: Cycles until a sum of integers can be added to.
        near_bytes: Weights of a call that the first-level cache holds.
    """

    name: str
    vector: int
    positions: tuple[int, ...]
    rows: int
    columns: int
    integer_rows: int
    product_vectors: int
    symmetric_rows: int
    symmetric_vectors: int
    symmetric_pairs: bool
    symmetric_multiple: int
    integer_latency: float
    near_bytes: int


AVX512 = Instructions(
    name="avx512",
    vector=16,
    positions=(6, 3, 2, 1),
    rows=12,
    columns=32,
    integer_rows=6,
    product_vectors=3,
    symmetric_rows=6,
    symmetric_vectors=4,
    symmetric_pairs=False,
    symmetric_multiple=4,
    integer_latency=4,
    near_bytes=49152,
)
AVX2 = Instructions(
    name="avx2",
    vector=8,
    positions=(3, 2, 1),
    rows=6,
    columns=16,
    integer_rows=4,
    product_vectors=2,
    symmetric_rows=4,
    symmetric_vectors=2,
    symmetric_pairs=True,
    symmetric_multiple=8,
    integer_latency=1,
    near_bytes=32768,
)
AVX_VNNI = replace(AVX2, name="avx-vnni", integer_rows=6, symmetric_rows=6, integer_latency=4)
INSTRUCTIONS = {one.name: one for one in (AVX512, AVX2, AVX_VNNI)}
KEY = "instructions"
"""Where the facts of a profile name them."""


def is_known(facts: Mapping[str, Any]) -> bool:
    """Return whether the instructions of a profile's facts are in the catalogue."""
    return facts.get(KEY, AVX512.name) in INSTRUCTIONS


def instructions_of(facts: Mapping[str, Any]) -> Instructions:
    """Return those of a profile's facts; one that does not name them was made as if for AVX-512."""
    return INSTRUCTIONS[facts.get(KEY, AVX512.name)]


def read_instructions(cpu_file: Path, machine: str) -> Instructions:
    """Return those that the operating system describes.

    An x86 processor that is not known to have AVX-512 is counted as one with AVX2. On Arm nothing was counted, and what
    a profile measures makes up for it.

    Args:
        cpu_file: `/proc/cpuinfo`; need not exist.
        machine: Architecture, as `platform.machine()` names it.
    """
    flags = cpu_file.read_text() if cpu_file.is_file() else ""
    if machine.lower() not in X86 or "avx512f" in flags:
        return AVX512
    return AVX_VNNI if "avx_vnni" in flags else AVX2


@cache
def instructions_here() -> Instructions:
    """Return those of this machine."""
    return read_instructions(CPU_FILE, platform.machine())
