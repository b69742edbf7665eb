"""Memory of this machine, and of a process on it."""

from pathlib import Path

import psutil

SHARE = 0.9
"""Share of the machine's memory that all workers together may hold."""
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Where Linux says how much memory a container has; the word `max` stands for no limit."""


def machine_memory_bytes() -> int:
    """Return the memory of this machine, or of the container."""
    total = psutil.virtual_memory().total
    limit = CGROUP_LIMIT.read_text().strip() if CGROUP_LIMIT.exists() else ""
    return min(total, int(limit)) if limit.isdigit() else total


def worker_limit_bytes(workers: int) -> float:
    """Return what each of several workers may hold where the study file says nothing."""
    return SHARE * machine_memory_bytes() / workers


def held_bytes(pid: int | None) -> int:
    """Return the memory that a process holds; 0 where it has ended."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
