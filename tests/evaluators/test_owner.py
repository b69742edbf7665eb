"""Processes that help a profile end with it, even where it is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROFILE = """
import multiprocessing, time
from paredown.evaluators.latency.bench import Asked
from paredown.evaluators.latency.profiling import _networks

if __name__ == "__main__":
    with _networks(Asked()) as networks:
        while not multiprocessing.active_children():
            next(networks)
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        time.sleep(120)  # until it is killed
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="one core exports for itself"
)
def test_what_exports_for_a_profile_ends_when_the_profile_is_killed(tmp_path: Path) -> None:
    (tmp_path / "profile.py").write_text(PROFILE)
    with subprocess.Popen([sys.executable, tmp_path / "profile.py"], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        helpers = [Path("/proc", pid) for pid in owner.stdout.readline().split()]
        assert helpers
        assert all(helper.exists() for helper in helpers)
        owner.send_signal(signal.SIGKILL)
    end = time.monotonic() + 60  # one that still loads what it needs looks after its owner a few seconds later
    while any(helper.exists() for helper in helpers) and time.monotonic() < end:
        time.sleep(0.1)  # then it is looked for again
    assert not [helper for helper in helpers if helper.exists()]
