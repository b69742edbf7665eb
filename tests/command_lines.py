"""The command lines of processes that come and go."""

import psutil


def command_lines(process: int) -> list[list[str]]:
    """Return the arguments of a process and of all below it; those that have ended have none any more."""
    if not psutil.pid_exists(process):
        return []
    own = psutil.Process(process)
    found = []
    for one in [own, *own.children(recursive=True)]:
        try:
            found.append(one.cmdline())
        except psutil.NoSuchProcess:  # a zombie is one, too
            continue
    return found
