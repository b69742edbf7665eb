"""Vela, Arm's compiler for the Ethos-U NPUs: cycles and memory of a TensorFlow Lite file, without the board."""

import csv
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.litert.target import NPU

KIBI = 1024
FALLS_BACK = re.compile(r"Warning: (?:Unsupported TensorFlow Lite semantics for )?(\w+) '.*?'.*Placing on CPU instead")


@dataclass(frozen=True)
class NpuEstimate:
    """What Vela says of a file.

    Attributes:
        npu: Name of the NPU, as Vela's `--accelerator-config` takes it.
        cycles: Clock cycles of one inference, waiting for memory included; those of operators that fall back are not.
        cycles_npu: Clock cycles in which the NPU computes.
        sram_bytes: Memory for tensors.
        flash_bytes: Memory for the encoded weights.
        fallbacks: Operators that run on the CPU, by name, each as often as it does.
    """

    npu: str
    cycles: int
    cycles_npu: int
    sram_bytes: int
    flash_bytes: int
    fallbacks: tuple[str, ...]


def run_vela(model: bytes, npu: str = NPU) -> NpuEstimate:
    """Compile a file and return what Vela says of it, in the configuration that Vela takes by default.

    Args:
        model: TensorFlow Lite, int8.
        npu: A value of Vela's `--accelerator-config`.

    Raises:
        EvaluationError: Vela cannot compile the file.
    """
    with tempfile.TemporaryDirectory(prefix="paredown-") as name:
        file = Path(name, "model.tflite")
        file.write_bytes(model)
        command = [sys.executable, "-m", "ethosu.vela", str(file), "--accelerator-config", npu, "--output-dir", name]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, cwd=name)
        summaries = list(Path(name).glob("model_summary_*.csv"))
        if done.returncode or not summaries:
            lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise EvaluationError(f"Vela cannot compile the file for {npu}: {(lines or ['it says nothing'])[-1]}")
        (row,) = csv.DictReader(summaries[0].read_text().splitlines())
    flash = float(row["off_chip_flash_memory_used"]) + float(row["on_chip_flash_memory_used"])
    return NpuEstimate(
        npu,
        round(float(row["cycles_total"])),
        round(float(row["cycles_npu"])),
        round(float(row["sram_memory_used"]) * KIBI),
        round(flash * KIBI),
        tuple(FALLS_BACK.findall(done.stdout)),
    )
