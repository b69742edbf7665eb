"""Which process a runner is, and whether another process can prove that it is gone.

A proof needs more than a host name and a number: containers share host names and numbers, and a number is given again.
Both processes must be on one kernel (machine and boot), in one PID namespace and one time namespace. There, the process
is gone where its number is free, or where the process of that number started at another tick since the boot, which no
change of the clock moves.
"""

import os
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROC = Path("/proc")
BOOT_ID = PROC / "sys/kernel/random/boot_id"
MACHINE_ID = Path("/etc/machine-id")
FIRST_FIELD = 3
"""Number of the first field after the name of the program in `/proc/PID/stat`, as the manual counts them."""
STATE, THREADS, START = 3 - FIRST_FIELD, 20 - FIRST_FIELD, 22 - FIRST_FIELD


@dataclass(frozen=True)
class RunnerProcess:
    """A process, told apart from every other one.

    Attributes:
        place: What another process must share with it to see whether it lives: host, machine, boot and namespaces.
        pid: Number of the process in its PID namespace.
        start: Tick since the boot at which it started.
    """

    place: str
    pid: int
    start: int

    @classmethod
    def here(cls) -> "RunnerProcess | None":
        """Return this process; None where the system does not say enough, as outside of Linux.

        Where `/proc` shows another PID namespace than that of this process, its numbers mean other processes.
        """
        if sys.platform != "linux":
            return None
        try:
            status = (PROC / "self/status").read_text().splitlines()
            (numbers,) = [line.split()[1:] for line in status if line.startswith("NSpid:")]
            if numbers != [str(os.getpid())]:
                return None
            machine = MACHINE_ID.read_text().strip() if MACHINE_ID.exists() else ""
            namespaces = [os.readlink(PROC / "self/ns" / kind) for kind in ("pid", "time")]
            place = " ".join([socket.gethostname(), machine, BOOT_ID.read_text().strip(), *namespaces])
            return cls(place, os.getpid(), int(_fields(os.getpid())[START]))
        except (OSError, ValueError):  # an old kernel, or a sandbox without such files
            return None

    @classmethod
    def from_json(cls, data: dict[str, Any] | None) -> "RunnerProcess | None":
        """Return the process that `to_json` wrote."""
        return None if data is None else cls(**data)

    def to_json(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return asdict(self)

    def is_gone(self, seen_from: "RunnerProcess | None") -> bool:
        """Return whether this process has ended for certain, as far as another one can see it."""
        if seen_from is None or self.place != seen_from.place:
            return False
        try:
            os.kill(self.pid, 0)
            fields = _fields(self.pid)
        except ProcessLookupError:
            return True
        except OSError:  # another user's, which may be hidden
            return False
        # A zombie with one thread left has ended, and nobody has asked for its exit code yet.
        is_zombie = fields[STATE] in ("Z", "X") and int(fields[THREADS]) <= 1
        return is_zombie or int(fields[START]) != self.start


def _fields(pid: int) -> list[str]:
    """Return the fields of `/proc/PID/stat` after the name of the program, which may hold anything."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
