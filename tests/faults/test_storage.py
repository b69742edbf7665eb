"""Databases and folders that fill up, are locked or vanish under a search: one message, and it can go on later."""

import contextlib
import shutil
import sqlite3
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import toy_trials
from sqlalchemy import create_engine, text
from third_driver import IN_TURN
from toy_searches import check, opened, started, wait_for

from paredown.search.drivers.catalogue import DRIVERS
from paredown.search.errors import SearchAborted
from paredown.search.run import search
from paredown.search.trial.artifact_folder import keep
from paredown.search.trial.failure_cause import failure
from paredown.studies.errors import StudyError
from paredown.studies.result import TrialResult

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def _in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DRIVERS, IN_TURN.name, IN_TURN)


@pytest.fixture
def study() -> str:
    return f"toy-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", place]
    if (tried := subprocess.run(command, capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"this user may not mount: {tried.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(folder: Path) -> Path:
    """Write a file until the disk is full."""
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    assert shutil.disk_usage(folder).free == 0
    return ballast


def at_trial(number: int, strike: Callable[[Any], Any]) -> Callable[..., TrialResult]:
    """Return trials, before the result of one of which something happens."""
    count = iter(range(1000))

    def run(candidate: Any, plan: Any, on_epoch: Any) -> TrialResult:
        result = toy_trials.good(candidate, plan, on_epoch)
        if next(count) == number:
            strike(plan)
        return result

    return run


def search_here(folder: Path, database: str, study: str, run: Any = toy_trials.good, **keys: Any) -> Any:
    setup = toy_trials.toy_setup(
        folder, **{"sampler": "random", "trials": 6, "study": study, "driver": "in_turn"} | keys
    )
    return search(setup, database, run=run, lease_s=1.5)


@pytest.mark.slow
def test_a_database_that_is_locked_for_ten_seconds_costs_nothing(tmp_path: Path, study: str) -> None:
    database = f"sqlite:///{tmp_path}/toy.db"
    with started(tmp_path, database, trials=10, study=study) as process:
        of = opened(database, study)
        wait_for(lambda: of.counts().get("done", 0) >= 2)
        other = sqlite3.connect(tmp_path / "toy.db", isolation_level=None, timeout=60)
        other.execute("BEGIN EXCLUSIVE")
        before = other.execute("SELECT count(*) FROM paredown_trials WHERE state = 'done'").fetchone()
        threading.Event().wait(10)
        assert process.is_alive()
        assert other.execute("SELECT count(*) FROM paredown_trials WHERE state = 'done'").fetchone() == before
        other.execute("ROLLBACK")
        other.close()
        process.join(60)
        assert process.exitcode == 0
    check(of, 10)
    assert {row["attempt"] for row in of.rows()} == {1}
    assert of.orphans() == []


def test_a_full_disk_under_the_database_ends_the_search_and_loses_nothing(
    small_disk: Path, tmp_path: Path, study: str
) -> None:
    database = f"sqlite:///{small_disk}/toy.db"
    with pytest.raises(SearchAborted, match=r"database or disk is full; make room on its disk; what is finished is"):
        search_here(tmp_path, database, study, at_trial(2, lambda plan: fill(small_disk)), trials=40)
    (small_disk / "ballast").unlink()
    with sqlite3.connect(small_disk / "toy.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    threading.Event().wait(1.6)  # until the lease has lapsed that could not be given back
    check(search_here(tmp_path, database, study).study, 6)


def test_a_full_disk_under_the_outputs_ends_the_search_and_fails_no_trial(
    small_disk: Path, tmp_path: Path, study: str
) -> None:
    database = f"sqlite:///{tmp_path}/toy.db"
    files = tmp_path / "files"
    files.mkdir()
    (files / "weights.safetensors").write_bytes(b"x" * 500_000)

    def keeps(candidate: Any, plan: Any, on_epoch: Any) -> TrialResult:
        try:
            keep(files, plan.folder, candidate)
        except Exception as error:
            return failure(error, {}, ())
        return toy_trials.good(candidate, plan, on_epoch)

    with pytest.raises(SearchAborted, match="No space left on device") as ended:
        search_here(small_disk, database, study, keeps)
    assert str(ended.value).count("No space left on device") >= 1
    of = opened(database, study)
    assert "failed" not in of.counts()
    done = of.counts()["done"]
    assert 1 <= done < 6
    for folder in (small_disk / "out/trials").iterdir():
        if folder.name != "toy":
            shutil.rmtree(folder)
    check(search_here(small_disk, database, study).study, 6)


def test_a_database_that_is_deleted_is_noticed_and_saved(tmp_path: Path, study: str) -> None:
    database = f"sqlite:///{tmp_path}/toy.db"
    with pytest.raises(SearchAborted, match=r"the file was deleted while it was in use; what it held is in") as ended:
        search_here(tmp_path, database, study, at_trial(3, lambda plan: (tmp_path / "toy.db").unlink()))
    assert not (tmp_path / "toy.db").exists(), "no new one, which would be empty"
    rescued = Path(str(ended.value).split("is in ")[1].split(":")[0])
    for rest in ("toy.db-wal", "toy.db-shm"):
        (tmp_path / rest).unlink(missing_ok=True)
    rescued.rename(tmp_path / "toy.db")
    assert opened(database, study).counts()["done"] == 3
    threading.Event().wait(1.6)
    check(search_here(tmp_path, database, study).study, 6)


def test_a_database_that_is_replaced_is_not_written_to(tmp_path: Path, study: str) -> None:
    database = f"sqlite:///{tmp_path}/toy.db"

    def replace(plan: Any) -> None:
        (tmp_path / "toy.db").unlink()
        with sqlite3.connect(tmp_path / "toy.db") as other:
            other.execute("CREATE TABLE mine (id)")
        other.close()

    with pytest.raises(SearchAborted, match="the file was replaced by another one while it was in use"):
        search_here(tmp_path, database, study, at_trial(2, replace))
    with sqlite3.connect(tmp_path / "toy.db") as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]
    other.close()


@pytest.mark.parametrize("also_ours", [False, True])
def test_a_study_that_is_deleted_ends_its_search(database: str, tmp_path: Path, study: str, also_ours: bool) -> None:
    def delete(plan: Any) -> None:
        optuna.delete_study(study_name=study, storage=database)  # as its dashboard does
        if also_ours:
            engine = create_engine(database)
            with engine.begin() as connection:
                if database.startswith("sqlite"):
                    connection.execute(text("PRAGMA foreign_keys=ON"))
                connection.execute(text("DELETE FROM paredown_studies WHERE name = :name"), {"name": study})
            engine.dispose()

    with pytest.raises(SearchAborted, match=rf"study '{study}' was deleted from .* while it was searched"):
        search_here(tmp_path, database, study, at_trial(2, delete))


def test_outputs_that_are_deleted_end_the_search_with_the_command_that_mends_it(
    database: str, tmp_path: Path, study: str
) -> None:
    with pytest.raises(SearchAborted, match=rf"outputs of the study are gone from .*paredown adopt {study} --out DIR"):
        search_here(tmp_path, database, study, at_trial(2, lambda plan: shutil.rmtree(plan.folder)))
    of = opened(database, study)
    assert "failed" not in of.counts()
    with pytest.raises(StudyError, match="are not in"):
        search_here(tmp_path, database, study)


def test_data_that_vanish_end_the_search_and_fail_no_trial(database: str, tmp_path: Path, study: str) -> None:
    toy_trials.write_arrays(tmp_path / "few.npz")

    def reads(candidate: Any, plan: Any, on_epoch: Any) -> TrialResult:
        if plan.baseline is not None:
            (tmp_path / "few.npz").rename(tmp_path / "elsewhere.npz")
            return TrialResult("failed", "no data")
        return toy_trials.good(candidate, plan, on_epoch)

    task = {"name": "arrays", "options": {"path": "few.npz"}}
    with pytest.raises(SearchAborted, match=rf"the data of the study are gone from .*adopt {study} --data PATH"):
        search_here(tmp_path, database, study, reads, task=task)
    assert opened(database, study).counts() == {"done": 1, "waiting": 1}
    (tmp_path / "elsewhere.npz").rename(tmp_path / "few.npz")
    check(search_here(tmp_path, database, study, task=task).study, 6)


def test_a_study_with_another_configuration_is_refused_and_goes_on_with_its_own(
    database: str, tmp_path: Path, study: str
) -> None:
    before = search_here(tmp_path, database, study, trials=3).study.rows()
    with pytest.raises(StudyError, match=r"exists with another seed.*\n  seed: stored 0, now 1"):
        search_here(tmp_path, database, study, seed=1)
    assert opened(database, study).rows() == before
    check(search_here(tmp_path, database, study).study, 6)
