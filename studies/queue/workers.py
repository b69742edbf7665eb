"""The workers that live and what each offers, so that the queue can say which jobs nobody can run."""

import time
from collections.abc import Collection

from sqlalchemy import ColumnElement, Engine, delete, select
from sqlalchemy.orm import Session

from paredown.studies.ownership import LEASE_S, database_time
from paredown.studies.tables import WorkerRow

Offer = frozenset[str]
"""Names of the resources that a worker offers."""


def stored_names(names: Collection[str]) -> str:
    """Return names of resources as the database has them."""
    return "\n".join(sorted(set(names)))


def names_in(stored: str) -> Offer:
    """Return the names of resources in what the database has."""
    return frozenset(stored.split("\n")) - {""}


class Presence:
    """A worker as the queue sees it: there as long as it renews its lease.

    Args:
        engine: Database.
        token: Name of the worker.
        offers: Names of the resources that it offers.
        lease_s: Seconds after which it is taken for dead.
    """

    def __init__(self, engine: Engine, token: str, offers: Offer, lease_s: float = LEASE_S) -> None:
        self._engine, self._token, self._offers, self._lease_s = engine, token, offers, lease_s
        self._now = database_time(engine.dialect)
        self._renewed_at = float("-inf")

    def renew(self) -> None:
        """Show that the worker lives, a few times in each lease; forget those that no longer do."""
        if time.monotonic() - self._renewed_at < self._lease_s / 4:
            return
        with Session(self._engine) as session:
            session.execute(delete(WorkerRow).where((WorkerRow.lease_until < self._now) | self._is_this))
            row = WorkerRow(token=self._token, offers=stored_names(self._offers))
            row.lease_until = self._now + self._lease_s  # evaluated by the database
            session.add(row)
            session.commit()
        self._renewed_at = time.monotonic()

    def leave(self) -> None:
        """Say that the worker has ended."""
        with Session(self._engine) as session:
            session.execute(delete(WorkerRow).where(self._is_this))
            session.commit()
        self._renewed_at = float("-inf")

    @property
    def _is_this(self) -> ColumnElement[bool]:
        return WorkerRow.token == self._token


def live_workers(engine: Engine) -> dict[str, Offer]:
    """Return what each worker that lives offers, by its token."""
    alive = WorkerRow.lease_until >= database_time(engine.dialect)
    with Session(engine) as session:
        rows = session.execute(select(WorkerRow.token, WorkerRow.offers).where(alive))
        return {token: names_in(offers) for token, offers in rows}
