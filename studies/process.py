"""Who runs a trial, and whether that process still lives."""

import os
import socket

import psutil

LEASE_S = 120.0
"""A process of another machine that has not renewed its lease for so long is taken for dead."""


def this_process() -> str:
    """Return `host/pid/start time` of this process."""
    return f"{socket.gethostname()}/{os.getpid()}/{psutil.Process().create_time():.2f}"


def is_alive(owner: str, lease_until: float, now: float) -> bool:
    """Return whether the owner of a lease still lives.

    On this machine the process itself is looked for, so a killed one is known at once; elsewhere the lease
    decides.
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
