"""Server and worker are killed in the midst of a study; what starts again finishes it."""

import os
import secrets
import signal
from pathlib import Path

import psutil
import pytest
from servers import STUDY, server, start, wait_until

pytest.importorskip("fastapi")

from paredown.search.api.client import RemoteStudy
from paredown.search.service.worker import Worker
from paredown.studies.database import open_storage
from paredown.studies.queue.jobs import JobQueue

pytestmark = pytest.mark.timeout(400)
TRIALS = {"trials": 4, "training": {"epochs": 1, "finetune_epochs": 1, "batch_size": 64}}


def has_begun(study: RemoteStudy) -> bool:
    return study.counts.get("done", 0) >= 1


def owner() -> str:
    return f"alice-{secrets.token_hex(4)}"


def assert_whole(study: RemoteStudy) -> None:
    """Assert that a study has all its trials, each once, and none that hangs."""
    assert study.state == "done", study.details()
    counts = study.counts
    assert sum(counts.get(state, 0) for state in ("done", "failed", "stopped")) == TRIALS["trials"], counts
    assert not {"running", "waiting", "failed"} & set(counts), counts
    numbers = [trial["trial"] for trial in study.trials(limit=1000)["trials"]]
    assert len(numbers) == len(set(numbers))


@pytest.mark.slow
def test_a_server_that_was_killed_goes_on_when_it_starts_again(tmp_path: Path) -> None:
    storage, name = f"sqlite:///{tmp_path / 'studies.db'}", owner()
    with server(tmp_path, storage, "--token-file", "t") as first:
        study = first.client(name).submit(STUDY | TRIALS)
        wait_until(lambda: has_begun(study), "a first trial")
        below = psutil.Process(first.process.pid).children(recursive=True)
        assert len(below) >= 2, "a worker and a search"
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait()
        assert psutil.wait_procs(below, timeout=60)[1] == [], "none outlives the server"
    with server(tmp_path, storage) as second:
        study = second.client(name).open_study("digits")
        wait_until(lambda: study.state == "done", "done")
        assert_whole(study)
        assert study.details()["attempts"] == 0, "its worker gave it back"


@pytest.mark.slow
def test_the_study_of_a_worker_that_was_killed_is_taken_over(tmp_path: Path) -> None:
    """As on PostgreSQL, in test_two_workers.py."""
    database = f"sqlite:///{tmp_path / 'studies.db'}"
    open_storage(database)
    with server(tmp_path, database, "--no-worker", "--token-file", "t") as running:
        study = running.client(owner()).submit(STUDY | TRIALS)
        worker = start("worker", "--storage", database, folder=tmp_path)
        wait_until(lambda: has_begun(study), "a first trial")
        below = psutil.Process(worker.pid).children(recursive=True)
        os.kill(worker.pid, signal.SIGKILL)
        worker.communicate()
        assert psutil.wait_procs(below, timeout=60)[1] == [], "its search has ended with it"
        assert study.state == "running", "nobody knows yet"
        shorten_lease(database)
        Worker(database).run(until_empty=True)
        assert_whole(study)
        assert study.details()["attempts"] == 1


def shorten_lease(database: str) -> None:
    """Let the lease of the running job lapse now, in place of half a minute later."""
    queue = JobQueue(open_storage(database).engine)
    (job,) = [job for job in queue.all() if job.state == "running"]
    assert queue.renew(job, lease_s=-1.0) == ""


@pytest.mark.slow
def test_a_worker_that_is_asked_to_end_gives_its_study_back(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    with server(tmp_path, storage, "--no-worker", "--token-file", "t") as running:
        study = running.client(owner()).submit(STUDY | TRIALS)
        worker = start("worker", "--storage", storage, folder=tmp_path)
        wait_until(lambda: has_begun(study), "a first trial")
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=60)
        assert worker.returncode == 0
        assert study.state == "queued"
        assert "running" not in study.counts
        Worker(storage).run(until_empty=True)
        assert_whole(study)


@pytest.mark.slow
def test_a_search_that_is_killed_starts_again(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    with server(tmp_path, storage, "--token-file", "t") as running:
        study = running.client(owner()).submit(STUDY | TRIALS)
        wait_until(lambda: has_begun(study), "a first trial")
        (worker,) = psutil.Process(running.process.pid).children()
        (search,) = worker.children()
        search.kill()
        wait_until(lambda: study.state == "done", "done")
        assert_whole(study)
        assert study.details()["attempts"] == 1
