"""How the command line ends: each way has its exit code and its words."""

import ast
import re
from pathlib import Path
from typing import NoReturn

import pytest
import typer

from paredown.evaluators.errors import TrialInterrupted, TrialSignal, TrialStopped
from paredown.search.cli.app import app, main
from paredown.search.cli.exit_codes import InterruptibleGroup
from paredown.search.errors import ConfigError, SearchAborted
from paredown.spaces import errors
from paredown.spaces.errors import ParedownError

ROOT = Path(__file__).parents[3]


def ended(capsys: pytest.CaptureFixture[str], error: BaseException) -> tuple[object, str]:
    """Return exit code and standard error of a command that raises an error."""
    commands = typer.Typer(cls=InterruptibleGroup, pretty_exceptions_enable=False)

    @commands.command()
    def first() -> NoReturn:
        raise error

    @commands.command()
    def second() -> None:
        """One command alone would have no name."""

    with pytest.raises(SystemExit) as left:
        main(lambda: commands(["first"]))
    out, err = capsys.readouterr()
    assert out == ""
    return left.value.code, err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("no such key"), 2, "paredown: no such key\n"),
        (KeyboardInterrupt(), 3, "paredown: stopped; all that is finished is saved, the same command goes on\n"),
        (
            SearchAborted("3 trials in a row failed"),
            4,
            "paredown: the search was aborted: 3 trials in a row failed; all that is finished is saved\n",
        ),
        (PermissionError(13, "Permission denied", "/models"), 2, "paredown: /models: Permission denied\n"),
        (OSError(28, "No space left on device"), 2, "paredown: the system: No space left on device\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_ends_a_command_early(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    assert ended(capsys, error) == (code, said)


@pytest.mark.parametrize("error", [ZeroDivisionError("division by zero"), FileNotFoundError(2, "No such file", "x")])
def test_a_bug_shows_its_traceback_and_says_what_it_is(capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    code, err = ended(capsys, error)
    assert code == 1
    assert err.startswith("Traceback (most recent call last):")
    assert "raise error" in err
    last = f"paredown: this is a bug in Paredown; please report it with the lines above ({type(error).__name__}: "
    assert err.splitlines()[-1].startswith(last)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("device", "profile", "--minutes", "abc"), ("'--minutes'", "'abc'", "valid number")),
        (("search", "study.yaml", "--trials", "many"), ("'--trials'", "'many'", "valid integer")),
    ],
)
def test_an_option_that_is_no_number_is_named_with_its_value(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(lambda: app(list(arguments)))
    err = capsys.readouterr().err
    assert left.value.code == 2
    assert all(word in err for word in said), err


def test_what_ends_a_trial_is_no_error_of_the_user() -> None:
    assert not issubclass(TrialSignal, ParedownError)
    assert issubclass(TrialStopped, TrialSignal)
    assert issubclass(TrialInterrupted, TrialSignal)


def drawn() -> dict[str, tuple[str, str]]:
    """Return for each error of the drawing its base and the file that it stands in."""
    lines = re.findall(r"^    ( *)(\w+) {2,}(?:(\S+\.py): )?", errors.__doc__ or "", re.MULTILINE)
    found, above = {}, {-1: "Exception"}
    for spaces, name, file in lines:
        above[depth := len(spaces) // 2] = name
        found[name] = (above[depth - 1], file or "spaces/errors.py")
    return found


def test_the_drawn_tree_is_that_of_the_classes() -> None:
    classes = {}
    for package in ("spaces", "evaluators", "studies", "search"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ClassDef):
                    bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
                    classes[node.name] = (bases, str(file.relative_to(ROOT)))
    raised, more = {"Exception", "BaseException"}, True
    while more:
        more = {name for name, (bases, _) in classes.items() if raised & set(bases)} - raised
        raised |= more
    real = {name: (bases[0], file) for name, (bases, file) in classes.items() if name in raised}
    assert drawn() == real
