"""The database: how it is opened, whose tables are whose, what is refused."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.orm import Session
from toy_study import open_study, run

from paredown.studies.database import VERSION_TABLE, open_storage
from paredown.studies.errors import DatabaseUnusable
from paredown.studies.tables import PREFIX, StudyRow, Table


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'studies.db'}"


def test_sqlite_is_used_as_several_processes_need_it(tmp_path: Path) -> None:
    engine = open_storage(url(tmp_path)).engine
    with engine.begin() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 60_000
        other = sqlite3.connect(tmp_path / "studies.db", timeout=0, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")  # ours holds the lock before it has written anything
        other.close()


def test_our_tables_have_our_prefix_and_match_the_migrations(tmp_path: Path) -> None:
    engine = open_storage(url(tmp_path)).engine
    options = {
        "version_table": VERSION_TABLE,
        "include_name": lambda name, kind, parents: kind != "table" or name.startswith(PREFIX),
    }
    with engine.begin() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Table.metadata) == []
        names = set(sqlalchemy.inspect(connection).get_table_names())
    assert {VERSION_TABLE, "alembic_version", "version_info"} <= names
    for table in Table.metadata.tables.values():
        assert table.name.startswith(PREFIX)
        assert all(key.column.table.name.startswith(PREFIX) for key in table.foreign_keys)


def test_opening_twice_changes_nothing(tmp_path: Path) -> None:
    run(open_study(tmp_path), 2)
    before = open_study(tmp_path).rows()
    assert open_study(tmp_path).rows() == before
    with Session(open_storage(url(tmp_path)).engine) as session:
        assert session.query(StudyRow).count() == 1


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    open_storage(url(tmp_path))
    with sqlite3.connect(tmp_path / "studies.db") as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(DatabaseUnusable, match=r"newer Paredown \(schema 9999\)"):
        open_storage(url(tmp_path))


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "studies.db").write_bytes(b"this is a letter, not a database. " * 100)
    with pytest.raises(DatabaseUnusable, match="not a database"):
        open_storage(url(tmp_path))
    assert (tmp_path / "studies.db").read_bytes().startswith(b"this is a letter")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("sqlite:///{folder}/absent.db", "no file"),
        ("my studies", "not a database address"),
        ("sqlite:///{folder}/no/such/folder/x.db", "no file"),
        ("nosuchdialect://host/x", "nosuchdialect"),
    ],
)
def test_an_address_that_leads_nowhere_is_refused(tmp_path: Path, address: str, said: str) -> None:
    with pytest.raises(DatabaseUnusable, match=said):
        open_storage(address.format(folder=tmp_path), must_exist=True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_said_when_a_study_is_made(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnusable, match="unable to open database file"):
        open_storage(f"sqlite:///{tmp_path}/no/folder/x.db")


def test_a_study_opens_without_torch_or_ray() -> None:
    code = "import sys, paredown.studies.study; print({'torch', 'ray'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
