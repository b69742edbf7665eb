"""A study in the queue of the service, as it was when it was read."""

from dataclasses import dataclass
from typing import Any

from paredown.studies.tables import JobRow

DEFAULT_TRIALS = 40
"""Number of trials of a study file that names none."""


@dataclass(frozen=True)
class Job:
    """A job as it was when it was read; see `JobRow` for the attributes."""

    id: int
    owner: str
    study: str
    payload: dict[str, Any]
    folder: str
    needs: str
    state: str
    priority: int
    run_after: float
    attempts: int
    max_attempts: int
    runner: str
    fencing_token: int
    lease_until: float
    stop_requested: str
    idempotency_key: str | None
    request_digest: str
    error: str
    created_at: float
    started_at: float | None
    finished_at: float | None

    @property
    def stored_name(self) -> str:
        """Name of the study in the database, where names of all owners stand side by side."""
        return f"{self.owner}.{self.study}"

    @property
    def trials(self) -> int:
        """Total number of trials that the study is to have."""
        return int(self.payload.get("trials", DEFAULT_TRIALS))


def job_of(row: JobRow) -> Job:
    """Return the job in a row."""
    return Job(**{name: getattr(row, name) for name in Job.__dataclass_fields__})
