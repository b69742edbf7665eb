"""How the command ends: its exit codes, and the last words of one that fails."""

import errno
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from paredown.search.cli.stop_signals import SENTENCE, STOPPED, raise_interrupt, was_interrupted
from paredown.search.errors import SearchAborted
from paredown.spaces.errors import ParedownError

DONE, BUG, WRONG_INPUT, ABORTED = 0, 1, 2, 4
SYSTEM_REFUSES = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.EISDIR, errno.ENOTDIR),
)
"""Error numbers that the user can fix and that any line may raise: a full disk, no write permission, a file in place
of a folder."""


def fail(message: str, code: int) -> NoReturn:
    """Leave with a message on standard error."""
    sys.stderr.write(f"paredown: {message}\n")
    sys.exit(code)


def run_command(command: Callable[[], Any]) -> None:
    """Run a command; whatever ends it early becomes a message and an exit code.

    A bug keeps its traceback: a report of it needs the lines.
    """
    try:
        command()
    except SearchAborted as error:
        fail(f"the search was aborted: {error}; all that is finished is saved", ABORTED)
    except ParedownError as error:
        fail(str(error), WRONG_INPUT)
    except Exception as error:
        if was_interrupted():
            fail(SENTENCE, STOPPED)
        if isinstance(error, OSError) and error.errno in SYSTEM_REFUSES:
            fail(f"{error.filename or 'the system'}: {error.strerror}", WRONG_INPUT)
        traceback.print_exc()
        fail(f"this is a bug in Paredown; please report it with the lines above ({type(error).__name__}: {error})", BUG)


class InterruptibleGroup(TyperGroup):
    """The commands; Ctrl-C ends one in our words and with our exit code, of which typer has its own.

    An option that is no number is named by typer, and its value here.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        raise_interrupt()
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            fail(SENTENCE, STOPPED)
        except typer.BadParameter as error:
            from pydantic import ValidationError

            if isinstance(error.__cause__, ValidationError):
                error.message = f"{error.__cause__.errors()[0]['input']!r}: {error.message}"
            raise
