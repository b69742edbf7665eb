"""Two workers on PostgreSQL share the studies of two owners; one of them is killed, and nothing runs twice."""

import os
import secrets
import signal
from pathlib import Path

import psutil
import pytest
from command_lines import command_lines
from servers import STUDY, server, start, wait_until
from sqlalchemy import delete
from sqlalchemy.orm import Session

pytest.importorskip("fastapi")

from paredown.studies.database import open_storage
from paredown.studies.queue.jobs import JobQueue
from paredown.studies.queue.workers import live_workers
from paredown.studies.tables import JobRow, WorkerRow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]
TRIALS = 3


def running_study(worker: int) -> str:
    """Return the stored name of the study that a worker runs; empty where it runs none."""
    for words in command_lines(worker):
        if "--study" in words:
            return words[words.index("--study") + 1]
    return ""


def test_each_study_is_done_once_although_a_worker_is_killed(
    postgres: str, tmp_path: Path, connections_closed: None
) -> None:
    engine = open_storage(postgres).engine
    with Session(engine) as session:  # what other tests left
        for table in (JobRow, WorkerRow):
            session.execute(delete(table))
        session.commit()
    queue, owners = JobQueue(engine), [f"{name}-{secrets.token_hex(4)}" for name in ("alice", "bob")]
    with server(tmp_path, postgres, "--no-worker", "--token-file", "t") as running:
        clients = [running.client(owner) for owner in owners]
        asked = {"trials": TRIALS, "training": STUDY["training"] | {"batch_size": 64}}
        studies = [client.submit(STUDY | asked, name=name) for client, name in zip(clients * 2, "abc", strict=False)]
        assert studies[0].details()["estimate"]["basis"] == "no worker runs"
        workers = [start("worker", "--storage", postgres, folder=tmp_path) for _ in range(2)]
        try:
            wait_until(lambda: len({running_study(one.pid) for one in workers} - {""}) == 2, "two studies at once")
            assert len(live_workers(engine)) == 2
            killed = running_study(workers[0].pid)
            owner, _, name = killed.partition(".")
            (study,) = [one for one, of in zip(studies, owners * 2, strict=False) if (of, one.name) == (owner, name)]
            wait_until(lambda: study.counts.get("done", 0) >= 1, "a first trial")
            assert study.state == "running"
            below = psutil.Process(workers[0].pid).children(recursive=True)
            os.kill(workers[0].pid, signal.SIGKILL)
            workers[0].communicate()
            assert psutil.wait_procs(below, timeout=60)[1] == [], "its search has ended with it"
            job = queue.find(owner, name)
            assert job is not None
            assert queue.renew(job, lease_s=-1.0) == "", "its lease lapses now, in place of half a minute later"
            for one in studies:
                assert one.wait(300) == "done", one.details()
            jobs = {job.stored_name: job for job in queue.all()}
            assert len(jobs) == 3
            claims = {stored: (job.fencing_token, job.attempts) for stored, job in jobs.items()}
            assert claims.pop(killed) == (2, 1), "taken over once"
            assert set(claims.values()) == {(1, 0)}, "the others were claimed once"
            for one in studies:
                counts = one.counts
                assert sum(counts.get(state, 0) for state in ("done", "failed", "stopped")) == TRIALS, counts
                assert not {"running", "waiting", "failed"} & set(counts), counts
                numbers = [trial["trial"] for trial in one.trials()["trials"]]
                assert len(numbers) == len(set(numbers))
                assert one.front()["models"]
        finally:
            for worker in workers:
                if worker.poll() is None:
                    worker.send_signal(signal.SIGTERM)
                    worker.communicate(timeout=280)
    assert len(live_workers(engine)) <= 1, "the killed one, until its lease lapses"
