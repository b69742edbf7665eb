"""A profile of this machine, one process of which the system ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_profile_whose_measuring_process_is_killed_ends_with_one_message(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "paredown", "device", "profile", "--minutes", "1", "--out", "host.toml"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    children = list[psutil.Process]()
    while not (children := [c for c in psutil.Process(process.pid).children() if "spawn_main" in str(c.cmdline())]):
        time.sleep(0.05)  # processes are started by another one
        assert process.poll() is None
    os.kill(children[-1].pid, signal.SIGKILL)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 2
    assert "was ended from outside" in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
