"""Which place in the queue a job has."""

from collections import Counter
from collections.abc import Sequence

from paredown.studies.queue.jobs import Job


def positions(jobs: Sequence[Job]) -> dict[int, int]:
    """Return the place of each queued job, from 1, by its id: the order in which claims would take them now."""
    running = Counter(job.owner for job in jobs if job.state == "running")
    waiting = [job for job in jobs if job.state == "queued"]
    places: dict[int, int] = {}
    while waiting:
        first = min(waiting, key=lambda job: (running[job.owner], -job.priority, job.id))
        waiting.remove(first)
        running[first.owner] += 1
        places[first.id] = len(places) + 1
    return places
