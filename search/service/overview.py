"""What a server says of studies: state, place, figures and time, of many at once in a few statements."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from sqlalchemy import Engine

from paredown.studies.queue.figures import Figures, figures_of
from paredown.studies.queue.job import Job
from paredown.studies.queue.jobs import PENDING, JobQueue
from paredown.studies.queue.waiting import WAITING_FOR_DEVICE, Estimate, estimates, missing_resources, positions
from paredown.studies.queue.workers import Offer, live_workers

State = Literal["queued", "waiting for device", "running", "paused", "cancelled", "failed", "done"]

KEPT_S = 1.0
"""Seconds after which the next request reads the figures anew: fifty who follow a study read its trials once."""
STALE_S = 5.0
"""Seconds up to which a request is answered from what is there while another one reads."""
KEPT = 100
"""Number of answers that are kept."""


@dataclass(frozen=True)
class Seen:
    """A study as users see it.

    Attributes:
        job: Its job.
        state: State of the job, or `waiting for device` where no worker offers what it needs.
        position: Place in the queue, from 1; None where it does not wait for a worker.
        estimate: When it is likely to start and to end; None where it rests.
        figures: What its trials come to.
    """

    job: Job
    state: State
    position: int | None
    estimate: Estimate | None
    figures: Figures


class Overview:
    """Looks at the studies of a database.

    Args:
        engine: Database, which is only read.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._jobs = engine, JobQueue(engine)
        self._kept: dict[tuple[tuple[int, str, int], ...], tuple[float, dict[int, Figures]]] = {}
        self._lock = threading.Lock()

    def all(self, owner: str | None = None) -> list[Seen]:
        """Return the studies of an owner, or of all owners, in order of their age."""
        jobs = self._jobs.all() if owner is None else self._jobs.of_owner_or_pending(owner)
        return self._seen([job for job in jobs if owner in (None, job.owner)], jobs)

    def look(self, job: Job) -> Seen:
        """Return one study."""
        others = self._jobs.pending() if job.state in PENDING else []
        return self._seen([job], [job, *(other for other in others if other.id != job.id)])[0]

    def _seen(self, shown: Sequence[Job], jobs: Sequence[Job]) -> list[Seen]:
        """Return what is seen of some jobs, among all that wait or run."""
        pending = [job for job in jobs if job.state in PENDING]
        workers = live_workers(self._engine) if pending else {}
        offers, figures = list(workers.values()), self._figures(jobs)
        places = positions(pending, offers)
        when = estimates(pending, figures, workers, time.time())
        return [
            Seen(
                job,
                _state(job, offers),
                places.get(job.id),
                when.get(job.id),
                figures.get(job.id, Figures()),
            )
            for job in shown
        ]

    def _figures(self, jobs: Sequence[Job]) -> dict[int, Figures]:
        """Return the figures of jobs, which are as new as the states of the jobs."""
        if not any(job.state == "running" for job in jobs):
            return figures_of(self._engine, [job.id for job in jobs])
        key = tuple((job.id, job.state, job.fencing_token) for job in jobs)
        read_at, figures = self._kept.get(key, (float("-inf"), None))
        age_s = time.monotonic() - read_at
        if figures is not None and (age_s <= KEPT_S or (age_s <= STALE_S and self._lock.locked())):
            return figures
        with self._lock:  # others are answered from what is there meanwhile
            kept = self._kept.pop(key, None)
            if kept is None or kept[0] == read_at:
                kept = time.monotonic(), figures_of(self._engine, [job.id for job in jobs])
            self._kept[key] = kept
            while len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]
        return kept[1]


def _state(job: Job, offers: Sequence[Offer]) -> State:
    """Return the state of a job as users see it."""
    is_waiting = job.state == "queued" and missing_resources(job, offers)
    return cast(State, WAITING_FOR_DEVICE if is_waiting else job.state)
