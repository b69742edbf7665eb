"""The command line run in this process: starting one that has loaded PyTorch takes seconds.

What a process of its own shows - signals, exit codes, what is imported, what is left behind - is tested in one.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PAREDOWN_STORAGE"} | {"OMP_WAIT_POLICY": "PASSIVE"}
COMMAND = [sys.executable, "-m", "paredown"]


class Said:
    """What a command that ran in this process said.

    Attributes:
        code: The exit code.
        out: Standard output.
        err: Standard error.
    """

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
        from paredown.search.cli import app as cli

        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main(lambda: cli.app(list(arguments)))
        self.out, self.err = capsys.readouterr()
        self.code = left.value.code or 0

    def document(self) -> dict[str, Any]:
        """Return the JSON document on standard output."""
        assert self.code == 0, self.err
        return dict(json.loads(self.out))


def paredown(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder and in a process of its own."""
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=280, check=False
    )
