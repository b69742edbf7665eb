"""Databases that can only be looked at, and those that nobody should use."""

import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Said
from database_contents import contents
from toy_study import CONFIG, objectives, open_study, run

from paredown.studies.database_address import read_address
from paredown.studies.errors import DatabaseUnusable
from paredown.studies.records import list_studies
from paredown.studies.study import Study

MEMORY = (
    "sqlite://",
    "sqlite:///",
    "sqlite:///:memory:",
    "sqlite:///file::memory:?uri=true",
    "sqlite:///file:x?mode=memory&uri=true",
)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A database with a study, in a folder that has a blank and a percent sign in its name."""
    folder = tmp_path / "a 50% folder"
    folder.mkdir()
    run(open_study(folder), 3)
    return folder / "studies.db"


def addresses(file: Path) -> list[str]:
    quoted = str(file).replace("%", "%25").replace(" ", "%20")
    return [f"sqlite:///{file}?mode=ro", f"sqlite:///file:{quoted}?mode=ro&uri=true"]


def opened(url: str) -> Study:
    return Study.open(url, "toy", lambda stored: objectives())


@pytest.mark.parametrize("url", MEMORY)
def test_a_database_in_memory_is_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DatabaseUnusable, match="ends with the process"):
        Study.create(url, "toy", CONFIG, objectives(), "out")
    said = Said(capsys, "search", "--storage", url)
    assert said.code == 2
    assert said.err.count("ends with the process") == 1
    assert "Traceback" not in said.err


@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_mode_ro_opens_a_study_to_look_at(made: Path, form: int, checkpointed: bool) -> None:
    if checkpointed:
        with sqlite3.connect(made) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
    before = contents(made)
    study = opened(addresses(made)[form])
    assert len(study.models()) == 3
    assert study.is_read_only
    assert contents(made) == before


@pytest.mark.parametrize("form", [0, 1])
def test_mode_ro_refuses_a_search_and_every_other_writing(made: Path, form: int) -> None:
    url = addresses(made)[form]
    with pytest.raises(DatabaseUnusable, match="mode=ro, so that it can only be looked at; a search stores"):
        Study.create(url, "toy", CONFIG, objectives(), "out")
    with pytest.raises(DatabaseUnusable, match="can only be looked at"):
        opened(url).keep_sensitivity({})
    with pytest.raises(DatabaseUnusable, match="there is no file"):
        list_studies(url.replace("studies.db", "none.db"))


def test_tables_of_an_earlier_version_are_not_upgraded_by_looking(made: Path) -> None:
    with sqlite3.connect(made) as connection:
        connection.execute("UPDATE paredown_alembic_version SET version_num = '0003'")
    with pytest.raises(DatabaseUnusable, match="of an earlier version; open it once"):
        opened(addresses(made)[0])


@pytest.fixture
def read_only_mount(made: Path, tmp_path: Path) -> Iterator[Path]:
    """The database seen through a mount that cannot be written."""
    place = tmp_path / "mount"
    place.mkdir()
    tried = subprocess.run(["mount", "--bind", made.parent, place], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"this user may not mount: {tried.stderr.strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
        yield place / made.name
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_a_database_on_a_mount_that_cannot_be_written_is_looked_at(made: Path, read_only_mount: Path) -> None:
    with sqlite3.connect(made) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    study = opened(f"sqlite:///{read_only_mount}")
    assert len(study.models()) == 3
    with pytest.raises(DatabaseUnusable, match="cannot be written, so that it can only be looked at; a search stores"):
        Study.create(f"sqlite:///{read_only_mount}", "toy", CONFIG, objectives(), "out")


@pytest.mark.parametrize("of", ["file", "folder"])
def test_a_database_without_write_permission_is_looked_at(made: Path, of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The permission is withdrawn here where that has an effect: an administrator may write everything."""
    place = made if of == "file" else made.parent
    real = os.access
    if os.geteuid():
        place.chmod(0o444 if of == "file" else 0o555)
    else:
        monkeypatch.setattr(
            os, "access", lambda path, mode: (str(path) != str(place) or mode != os.W_OK) and real(path, mode)
        )
    address = read_address(f"sqlite:///{made}")
    assert address.read_only == f"{place} cannot be written"
    assert len(opened(f"sqlite:///{made}").models()) == 3
    with pytest.raises(DatabaseUnusable, match=re.escape(f"{place} cannot be written, so that")):
        Study.create(f"sqlite:///{made}", "toy", CONFIG, objectives(), "out")


def test_a_server_that_cannot_be_reached_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("psycopg")
    said = Said(capsys, "studies", "--storage", "postgresql+psycopg://me@127.0.0.1:1/db")
    assert said.code == 2
    assert "cannot be used as a database" in said.err
    assert "Traceback" not in said.err


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    said = Said(capsys, "studies", "--storage", "postgresql+psycopg://me@127.0.0.1:1/db")
    assert said.code == 2
    assert "its driver is not installed" in said.err
    assert "pip install 'paredown[postgres]'" in said.err
