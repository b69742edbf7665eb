"""Runs a module of ours in a process of its own, to its end, and returns what it printed."""

import os
import subprocess
import sys
from collections.abc import Mapping

from paredown.search.errors import ConfigError
from paredown.studies.errors import StudyError

MAX_S = 300
"""Seconds after which the check of a submission, or another command, is given up."""


def output_of(module: str, *arguments: str, given: str = "", environment: Mapping[str, str] | None = None) -> str:
    """Run `python -m MODULE ARGUMENTS`, and return its standard output.

    Args:
        module: A module that ends as the command line does.
        arguments: Its arguments.
        given: Its standard input.
        environment: Variables beside those of this process.

    Raises:
        ConfigError: It refused its input, with its own message, or did not end in time.
        StudyError: It failed.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            input=given,
            env=os.environ | dict(environment or {}),
            capture_output=True,
            text=True,
            timeout=MAX_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(f"it did not end within {MAX_S} s") from None
    message = done.stderr.rpartition("paredown: ")[2].strip()
    if done.returncode == 2:
        raise ConfigError(message)
    if done.returncode != 0:
        raise StudyError(f"it ended with exit code {done.returncode}: {message[-500:]}")
    return str(done.stdout)
