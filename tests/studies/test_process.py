"""Whether the process that holds a trial lives."""

import subprocess
import sys

import psutil
import pytest

from paredown.studies.process import is_alive, this_process


def test_a_child_lives_until_it_ends() -> None:
    host = this_process().partition("/")[0]
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        owner = f"{host}/{child.pid}/{psutil.Process(child.pid).create_time():.2f}"
        assert is_alive(owner, lease_until=0.0, now=1e12)
    finally:
        child.kill()
        child.communicate()
    assert not is_alive(owner, lease_until=1e12, now=0.0)


@pytest.mark.parametrize("owner", ["", "elsewhere", "elsewhere/x/y", "elsewhere/1/2/3"])
def test_owners_that_are_not_of_this_machine_go_by_their_lease(owner: str) -> None:
    assert is_alive(owner, lease_until=2.0, now=1.0)
    assert not is_alive(owner, lease_until=1.0, now=1.0)
