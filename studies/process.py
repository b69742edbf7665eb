"""Identifies the process that runs a trial, and checks whether it is still alive."""

import os
import socket

import psutil

LEASE_S = 120.0
"""Seconds without a renewed lease after which a process of another machine is taken for dead."""


def this_process() -> str:
    """Return `host/pid/start time` of this process."""
    return f"{socket.gethostname()}/{os.getpid()}/{psutil.Process().create_time():.2f}"


def is_alive(owner: str, lease_until: float, now: float) -> bool:
    """Return whether the owner of a lease is alive.

    On this machine, the process table decides, so that a killed process is noticed at once; for other machines, the
    lease decides.
    """
    host, _, rest = owner.partition("/")
    pid, _, started = rest.partition("/")
    if host == socket.gethostname() and pid.isdigit():
        try:
            process = psutil.Process(int(pid))
            return process.status() != psutil.STATUS_ZOMBIE and f"{process.create_time():.2f}" == started
        except psutil.NoSuchProcess:
            return False
    return lease_until > now
