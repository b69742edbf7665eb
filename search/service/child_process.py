"""Runs the command line as a child that does not outlive its parent: its parent's death ends it as Ctrl-C does.

Without this, the search of a worker that was killed would go on beside that of the worker that takes over.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

PARENT = "PAREDOWN_PARENT_PROCESS"
PR_SET_PDEATHSIG = 1


def start_child(arguments: Sequence[str], environment: Mapping[str, str], **options: Any) -> "subprocess.Popen[bytes]":
    """Start `paredown ARGUMENTS`; the calling thread must live as long as the child.

    Args:
        arguments: Arguments of the command line.
        environment: Variables beside those of this process.
        options: Further options of `subprocess.Popen`.
    """
    command = [sys.executable, "-m", "paredown.search.service.child_process", *arguments]
    told = os.environ | dict(environment) | {PARENT: str(os.getpid())}
    # A session of its own: Ctrl-C in the terminal reaches the parent, which passes it on once.
    return subprocess.Popen(command, env=told, stdin=subprocess.DEVNULL, start_new_session=True, **options)


def _die_with_parent() -> None:
    if sys.platform != "linux":  # elsewhere the leases of the trials keep two searches apart
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != int(os.environ[PARENT]):  # it died before
        sys.exit(3)


if __name__ == "__main__":
    from paredown.__main__ import main

    _die_with_parent()
    main()
