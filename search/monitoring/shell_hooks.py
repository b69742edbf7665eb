"""Commands of the user's that run when a search ends; the shell of whoever runs the search executes them."""

import os
import subprocess
from pathlib import Path

LIMIT_S = 300
"""Seconds after which a command is killed."""


def run_hook(command: str | None, study: str, reason: str, folder: Path) -> str:
    """Run a command with what has happened in its environment, and return what is to be remarked on it.

    Args:
        command: Shell command, told of `PAREDOWN_STUDY`, `PAREDOWN_REASON` and `PAREDOWN_FOLDER`; None for nothing.
        study: Name of the study.
        reason: Why the search ended.
        folder: Folder of the study.
    """
    if command is None:
        return ""
    told = {"PAREDOWN_STUDY": study, "PAREDOWN_REASON": reason, "PAREDOWN_FOLDER": str(folder.absolute())}
    try:
        # Standard output is for results.
        code = subprocess.run(
            command, shell=True, env=os.environ | told, stdout=2, stdin=subprocess.DEVNULL, timeout=LIMIT_S, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        return f"{command}: did not end within {LIMIT_S} s and was killed"
    return f"{command}: exit code {code}" if code else ""
