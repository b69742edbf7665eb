"""SIGINT and SIGTERM, whenever they come: one sentence, exit code 3, no traceback."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from commands import COMMAND, ENVIRONMENT

SENTENCE = "paredown: stopped; all that is finished is saved, the same command goes on\n"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def wait_until(maps: str, process: subprocess.Popen[str]) -> None:
    """Wait until a process has mapped a file, which shows how far its imports are."""
    file, until = Path(f"/proc/{process.pid}/maps"), time.monotonic() + 120
    while maps not in file.read_text():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < until, f"{maps} was not loaded"
        time.sleep(0.01)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="tells by /proc how far imports are")
@pytest.mark.parametrize(
    ("number", "maps"),
    [(signal.SIGTERM, "pydantic_core"), (signal.SIGINT, "libtorch_cpu"), (signal.SIGTERM, "onnxruntime_pybind11")],
    ids=["the command line", "PyTorch", "ONNX Runtime"],
)
def test_a_signal_while_a_search_is_being_loaded(number: int, maps: str, tmp_path: Path) -> None:
    command = [*COMMAND, "search", "--trials", "2"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_until(maps, process)
        os.kill(process.pid, number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (3, "", SENTENCE)
