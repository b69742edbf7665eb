"""What the user wants done when a search ends: a command for the shell, or a message to a service."""

import os
import subprocess
from pathlib import Path

from paredown.search.monitoring.notification import is_url, send

LIMIT_S = 300
"""Seconds after which a command is killed."""


def run_hook(key: str, hook: str | None, study: str, reason: str, folder: Path) -> str:
    """Run a command with what has happened in its environment, or send it to a service; return what is to be remarked.

    The remark names the key alone: commands and addresses may hold secrets.

    Args:
        key: Key of the study file, `on_finish` or `on_failure`.
        hook: Shell command, told of `PAREDOWN_STUDY`, `PAREDOWN_REASON` and `PAREDOWN_FOLDER`, or the address of a
            service; None for nothing.
        study: Name of the study.
        reason: Why the search ended.
        folder: Folder of the study.
    """
    if hook is None:
        return ""
    if is_url(hook):
        what = "has ended" if key == "on_finish" else "has failed"
        refused = send(hook, f"paredown: {study} {what}", f"{reason}\n{folder.absolute()}")
        return f"{key}: {refused}" if refused else ""
    told = {"PAREDOWN_STUDY": study, "PAREDOWN_REASON": reason, "PAREDOWN_FOLDER": str(folder.absolute())}
    try:
        # Standard output is for results.
        code = subprocess.run(
            hook, shell=True, env=os.environ | told, stdout=2, stdin=subprocess.DEVNULL, timeout=LIMIT_S, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        return f"{key}: the command did not end within {LIMIT_S} s and was killed"
    return f"{key}: the command ended with exit code {code}" if code else ""
