"""Passwords of databases are in no message."""

import re
from pathlib import Path

import pytest
from commands import Said

from paredown.studies.database import open_storage
from paredown.studies.database_address import shown
from paredown.studies.errors import DatabaseUnusable

ROOT = Path(__file__).parents[2]
PASSWORD = "s3cr3t/of:the@database"
QUOTED = "s3cr3t%2Fof%3Athe%40database"


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("sqlite:///paredown.db", "sqlite:///paredown.db"),
        ("sqlite:////tmp/a folder/x.db", "sqlite:////tmp/a folder/x.db"),
        ("postgresql+psycopg://me@host/db", "postgresql+psycopg://me@host/db"),
        (f"postgresql+psycopg://me:{QUOTED}@host:5432/db", "postgresql+psycopg://me:***@host:5432/db"),
        (f"postgresql+psycopg:///db?host=h&password={QUOTED}", "postgresql+psycopg:///db?host=h&password=hidden"),
        (f"postgresql+psycopg://me:{QUOTED}@host:port/db", "postgresql+psycopg://me:***@host:port/db"),
        (f"postgres//me:{PASSWORD}@host/db", "postgres//me:***@host/db"),
        (f"me:{PASSWORD}@host", "me:***@host"),
        (f"nonsense?sslpassword={QUOTED}&x=1", "nonsense?sslpassword=hidden&x=1"),
        ("nonsense", "nonsense"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, text: str) -> None:
    assert shown(url) == text


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            f"postgresql+psycopg://me:{QUOTED}@127.0.0.1:1/db",
            "cannot be used as a database|its driver is not installed",
        ),
        (
            f"postgresql+psycopg://me@127.0.0.1:1/db?password={QUOTED}",
            "cannot be used as a database|its driver is not installed",
        ),
        (f"postgresql+psycopg://me:{QUOTED}@127.0.0.1:port/db", "not a database address"),
        (f"postgresql+nobody://me:{QUOTED}@127.0.0.1:1/db", "plugin"),
        (f"mysql+pymysql://me:{QUOTED}@127.0.0.1:1/db", "its driver is not installed"),
        (f"sqlite://me:{QUOTED}@host/file.db", "Invalid SQLite URL|there is no file"),
        (f"me:{PASSWORD}@host", "not a database address"),
    ],
)
def test_no_refusal_shows_a_password(url: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DatabaseUnusable, match=said) as refused:
        open_storage(url)
    assert "s3cr3t" not in str(refused.value)
    command = Said(capsys, "studies", "--storage", url)
    assert command.code == 2
    assert re.search(said, command.err)
    assert "s3cr3t" not in command.out + command.err


def test_no_message_is_made_with_a_bare_address() -> None:
    sources = [file for folder in ("studies", "search") for file in (ROOT / folder).rglob("*.py")]
    bare = re.compile(r"\{(url|storage|self\._?url)(!r)?\}")
    assert [file.name for file in sources if bare.search(file.read_text())] == []
