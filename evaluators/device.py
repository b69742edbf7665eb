"""The device for which files are made and on which latency is measured: a processor and the runtime on it."""

import functools
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from paredown.spaces.compression.target import Target

CPU_FILE = Path("/proc/cpuinfo")
X86 = frozenset({"x86_64", "amd64", "i386", "i686", "x86"})


@dataclass(frozen=True)
class Device:
    """A processor and the runtime on it: plain data that crosses processes.

    Attributes:
        name: Model of the processor.
        int8_sums_saturate: Whether its kernels add pairs of products of 8-bit weights and 8-bit activations in
            16 bits, and clip the sum: x86 without VNNI.
        runtime: What executes the file.
        runtime_version: Its version.
        threads: Threads that execute one model.
        batch_size: Images of one run.
    """

    name: str
    int8_sums_saturate: bool
    runtime: str = "ONNX Runtime"
    runtime_version: str = ""
    threads: int = 1
    batch_size: int = 1

    @property
    def target(self) -> Target:
        """What a compression step must know of it.

        Source:
            ONNX Runtime, Quantize ONNX Models, "When and why do I need to try U8U8?" (reduce_range).
        """
        return Target(int8_weight_bits=7 if self.int8_sums_saturate else 8)

    @property
    def is_exact(self) -> bool:
        """Whether no sum of 8-bit products is clipped on it: its files have their accuracy by exact sums everywhere."""
        return not self.int8_sums_saturate

    def __str__(self) -> str:
        """Return the processor, the runtime, the number of threads and that of images where it is not one."""
        runtime = f"{self.runtime} {self.runtime_version}".rstrip()
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        return ", ".join([self.name, runtime, threads, *([f"batch {self.batch_size}"] if self.batch_size > 1 else [])])

    def remark_on(self, here: "Device") -> str:
        """Return in words what it means that a study of this device goes on on another one."""
        return (
            f"it began on {self}; this machine is {here}. Files are still made for the first device; latency is "
            "measured on the machine that runs the trial"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Device":
        """Return the device that `to_json` wrote."""
        return cls(**data)


@functools.cache
def this_device(threads: int = 1, batch_size: int = 1) -> Device:
    """Return this machine with ONNX Runtime on the given number of threads, at a batch size."""
    return replace(read_device(CPU_FILE, platform.machine(), threads), batch_size=batch_size)


def cores_here() -> int:
    """Return on how many cores of this machine this process may run."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_device(cpu_file: Path, machine: str, threads: int = 1) -> Device:
    """Return the device that the operating system describes.

    Where an x86 processor does not say what it can do, it is taken for one without VNNI: 7-bit weights are exact on
    either kind.

    Args:
        cpu_file: `/proc/cpuinfo`; need not exist.
        machine: Architecture, as `platform.machine()` names it.
        threads: Threads that execute one model.
    """
    lines = cpu_file.read_text().splitlines() if cpu_file.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or machine
    saturates = machine.lower() in X86 and not any("vnni" in line for line in lines)
    return Device(name, saturates, runtime_version=version("onnxruntime"), threads=threads)
