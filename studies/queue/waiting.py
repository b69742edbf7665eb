"""Which place in the queue a job has, which jobs wait for a device, and when each is likely to start and to end."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paredown.studies.queue.figures import Figures
from paredown.studies.queue.job import Job
from paredown.studies.queue.workers import Offer, names_in

WAITING_FOR_DEVICE = "waiting for device"
"""How the state of a queued job is called that needs what no worker offers."""


@dataclass(frozen=True)
class Estimate:
    """When a job is likely to start and to end.

    Attributes:
        starts_in_s: Seconds until it starts; 0 where it runs, None where nothing can be said.
        ends_in_s: Seconds until it has all its trials; None where nothing can be said.
        basis: What the numbers come from, or why there are none.
    """

    starts_in_s: float | None
    ends_in_s: float | None
    basis: str


def missing_resources(job: Job, offers: Sequence[Offer]) -> list[str]:
    """Return what a job needs and no worker that lives offers beside all else that it needs."""
    needs = names_in(job.needs)
    missing = [sorted(needs - offer) for offer in offers] or [sorted(needs)]
    return min(missing, key=len)


def positions(jobs: Sequence[Job], offers: Sequence[Offer] = ()) -> dict[int, int]:
    """Return the place of each queued job, from 1, by its id: the order in which claims would take them now.

    Args:
        jobs: All jobs that wait or run.
        offers: What each worker offers; a job that needs what none offers has no place.
    """
    running = Counter(job.owner for job in jobs if job.state == "running")
    waiting = [job for job in jobs if job.state == "queued" and not missing_resources(job, offers)]
    places: dict[int, int] = {}
    while waiting:
        first = min(waiting, key=lambda job: (running[job.owner], -job.priority, job.id))
        waiting.remove(first)
        running[first.owner] += 1
        places[first.id] = len(places) + 1
    return places


def estimates(
    jobs: Sequence[Job], figures: Mapping[int, Figures], workers: Mapping[str, Offer], now: float
) -> dict[int, Estimate]:
    """Return the estimate of each job that waits or runs, by its id.

    A study that did not run yet is taken to need the mean time of a trial of those that did.

    Args:
        jobs: All jobs that wait or run.
        figures: Figures of those that ran, by the id of the job.
        workers: What each worker offers, by its token.
        now: Unix time by the clock of the database.
    """
    paces = {job.id: pace for job in jobs if (pace := _pace(job, figures.get(job.id, Figures()))) is not None}
    typical = sum(paces.values()) / len(paces) if paces else math.inf
    free_at, found = dict.fromkeys(workers, 0.0), dict[int, Estimate]()
    for job in jobs:
        if job.state == "running":
            left_s = _left_s(job, figures, paces.get(job.id, math.inf))
            free_at[job.runner] = left_s
            known = "the mean time of its finished trials"
            found[job.id] = Estimate(
                0.0, _known(left_s), known if left_s < math.inf else "none of its trials has finished yet"
            )
    places = positions(jobs, list(workers.values()))
    for job in sorted((job for job in jobs if job.id in places), key=lambda job: places[job.id]):
        able = [token for token, offer in workers.items() if names_in(job.needs) <= offer]
        if not able:
            found[job.id] = Estimate(None, None, "no worker runs")
            continue
        first = min(able, key=lambda token: free_at[token])
        start = max(free_at[first], job.run_after - now)
        free_at[first] = start + _left_s(job, figures, paces.get(job.id, typical))
        found[job.id] = Estimate(_known(start), _known(free_at[first]), _basis(start, free_at[first]))
    for job in jobs:
        if job.id not in found:
            missing = ", ".join(missing_resources(job, list(workers.values())))
            found[job.id] = Estimate(None, None, f"no worker offers {missing}")
    return found


def _pace(job: Job, figures: Figures) -> float | None:
    """Return the seconds from the end of one trial to that of the next."""
    given = job.payload.get("workers")
    at_once = figures.counts.get("running", 0) or (given if isinstance(given, int) else 1)
    return None if figures.trial_s is None else figures.trial_s / max(at_once, 1)


def _left_s(job: Job, figures: Mapping[int, Figures], pace: float) -> float:
    left = max(0, job.trials - figures.get(job.id, Figures()).finished)
    return left * pace if left else 0.0


def _known(seconds: float) -> float | None:
    return round(seconds, 1) if seconds < math.inf else None


def _basis(start: float, end: float) -> str:
    if start == math.inf:
        return "a study before it has no finished trial yet"
    return (
        "the mean time of a trial of the studies that run"
        if end < math.inf
        else "no study that waits or runs has finished a trial yet"
    )
