"""How the command ends: its exit codes, and the last words of one that fails."""

import sys
from typing import NoReturn

DONE, BUG, WRONG_INPUT, STOPPED = 0, 1, 2, 3


def fail(message: str, code: int) -> NoReturn:
    """Leave with a message on standard error."""
    sys.stderr.write(f"paredown: {message}\n")
    sys.exit(code)
