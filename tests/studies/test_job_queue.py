"""The queue: each job to one worker, fairly, and back when the worker dies."""

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from paredown.studies.database import open_storage
from paredown.studies.queue.job import Job
from paredown.studies.queue.jobs import JobConflict, JobQueue
from paredown.studies.queue.waiting import positions
from paredown.studies.tables import JobRow

CLAIM_ALL = """
import sys
from paredown.studies.database import open_storage
from paredown.studies.queue.jobs import JobQueue
queue = JobQueue(open_storage(sys.argv[1]).engine)
print("ready", flush=True)
sys.stdin.readline()
while (job := queue.claim(sys.argv[2])) is not None:
    print(job.id, flush=True)
    queue.finish(job, "done")
"""


@pytest.fixture
def queue(database: str) -> JobQueue:
    engine = open_storage(database).engine
    with Session(engine) as session:
        session.execute(delete(JobRow))
        session.commit()
    return JobQueue(engine)


def add(queue: JobQueue, owner: str, study: str, **options: object) -> Job:
    return queue.add(owner, study, {"study": study}, f"out/{owner}/{study}", **options)  # type: ignore[arg-type]


def test_the_owner_with_the_fewest_running_jobs_comes_first_then_priority_then_age(queue: JobQueue) -> None:
    for study in ("a1", "a2", "a3"):
        add(queue, "alice", study)
    add(queue, "alice", "urgent", priority=5)
    add(queue, "bob", "b1")
    expected = ["urgent", "b1", "a1", "a2", "a3"]
    places = positions(queue.all())
    assert [job.study for job in sorted(queue.all(), key=lambda job: places[job.id])] == expected
    claimed = [queue.claim("w") for _ in range(6)]
    assert [job and job.study for job in claimed] == [*expected, None]
    assert {job.state for job in queue.all()} == {"running"}


def test_a_job_that_is_to_start_later_waits(queue: JobQueue) -> None:
    add(queue, "alice", "later", delay_s=3600)
    assert queue.claim("w") is None
    assert queue.find("alice", "later").state == "queued"  # type: ignore[union-attr]


def test_each_job_goes_to_one_of_several_processes(queue: JobQueue, database: str) -> None:
    for number in range(60):
        add(queue, f"owner{number % 3}", f"s{number}")
    command = [sys.executable, "-c", CLAIM_ALL, database]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen([*command, f"w{n}"], **pipes) for n in range(3)]  # type: ignore[call-overload]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:  # all begin at once
        worker.stdin.write("go\n")
        worker.stdin.flush()
    claimed = [worker.communicate(timeout=60)[0].split() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    taken = Counter(int(number) for one in claimed for number in one)
    assert taken == Counter(job.id for job in queue.all())
    assert {job.state for job in queue.all()} == {"done"}


def test_a_lapsed_job_is_taken_over_and_its_first_worker_can_change_it_no_more(queue: JobQueue) -> None:
    add(queue, "alice", "a")
    first = queue.claim("suspended", lease_s=0.1)
    assert first is not None
    assert queue.renew(first, lease_s=0.1) == ""
    time.sleep(0.3)
    second = queue.claim("other")
    assert second is not None
    assert (second.id, second.attempts, second.fencing_token) == (first.id, 1, first.fencing_token + 1)
    assert queue.renew(first) is None
    assert not queue.finish(first, "failed")
    assert not queue.release(first)
    assert queue.renew(second) == ""
    assert queue.finish(second, "done")
    assert queue.find("alice", "a").state == "done"  # type: ignore[union-attr]


def test_a_job_whose_process_dies_each_time_fails(queue: JobQueue) -> None:
    add(queue, "alice", "poison")
    for attempt in range(3):
        job = queue.claim("w")
        assert job is not None
        assert job.attempts == attempt
        queue.release(job, died=True, error="signal 9")
    assert queue.claim("w") is None
    found = queue.find("alice", "poison")
    assert found is not None
    assert (found.state, found.error, found.attempts) == ("failed", "signal 9", 3)
    assert queue.requeue(found, "to resume it", ("failed",)).attempts == 0
    assert queue.claim("w") is not None


def test_a_worker_that_stops_gives_its_job_back_at_no_cost(queue: JobQueue) -> None:
    add(queue, "alice", "a")
    job = queue.claim("w")
    assert job is not None
    assert queue.release(job)
    again = queue.claim("w")
    assert again is not None
    assert again.attempts == 0


def test_a_waiting_job_is_stopped_at_once_and_a_running_one_is_asked(queue: JobQueue) -> None:
    waiting, running = add(queue, "alice", "a"), add(queue, "bob", "b")
    assert queue.stop(waiting, "pause").state == "paused"
    claimed = queue.claim("w")
    assert claimed is not None
    assert claimed.id == running.id
    asked = queue.stop(running, "cancel")
    assert (asked.state, asked.stop_requested) == ("running", "cancel")
    assert queue.renew(claimed) == "cancel"
    queue.finish(claimed, "cancelled")
    with pytest.raises(JobConflict, match="'b' is cancelled; pause is possible when it is queued or running"):
        queue.stop(running, "pause")
    with pytest.raises(JobConflict, match="to resume it is possible when it is paused"):
        queue.requeue(running, "to resume it", ("paused",))


def test_a_cancelled_job_whose_worker_died_is_not_run_again(queue: JobQueue, database: str) -> None:
    job = add(queue, "alice", "a")
    assert queue.claim("w", lease_s=3600) is not None
    queue.stop(job, "cancel")
    with Session(open_storage(database).engine) as session:
        session.execute(update(JobRow).values(lease_until=1.0))
        session.commit()
    assert queue.claim("other") is None
    assert queue.find("alice", "a").state == "cancelled"  # type: ignore[union-attr]


def test_a_repeated_request_finds_its_job_and_another_one_is_refused(queue: JobQueue) -> None:
    first = add(queue, "alice", "a", key="k", digest="one")
    assert add(queue, "alice", "a", key="k", digest="one").id == first.id
    with pytest.raises(JobConflict, match="'k' belongs to another request"):
        add(queue, "alice", "b", key="k", digest="two")
    with pytest.raises(JobConflict, match="study 'a' exists"):
        add(queue, "alice", "a")
    assert add(queue, "bob", "a", key="k", digest="one").id != first.id, "names and keys are their owner's"


def test_a_running_job_cannot_be_removed(queue: JobQueue, tmp_path: Path) -> None:
    job = add(queue, "alice", "a")
    queue.claim("w")
    with pytest.raises(JobConflict, match="running; cancel it first"):
        queue.remove(job)
    assert queue.find("alice", "a") is not None
