"""Leases, which show the processes that run trials of a study, and the trials whose process died."""

import time
from collections.abc import Collection

from sqlalchemy import Engine, delete, select
from sqlalchemy.orm import Session

from paredown.studies.process import LEASE_S, is_alive, this_process
from paredown.studies.tables import DriverRow, TrialRow


def renew(engine: Engine, study_id: int, numbers: Collection[int]) -> None:
    """Show that this process and its running trials are alive."""
    until = time.time() + LEASE_S
    query = select(TrialRow).where(
        TrialRow.study_id == study_id, TrialRow.number.in_(numbers), TrialRow.owner == this_process()
    )
    with Session(engine) as session:
        session.merge(DriverRow(study_id=study_id, owner=this_process(), lease_until=until))
        for row in session.scalars(query):
            row.lease_until = until
        session.commit()


def release(engine: Engine, study_id: int) -> None:
    """Give back the running trials of this process; the next process runs them again."""
    query = select(TrialRow).where(
        TrialRow.study_id == study_id, TrialRow.state == "running", TrialRow.owner == this_process()
    )
    with Session(engine) as session:
        for row in session.scalars(query):
            row.state, row.owner, row.lease_until = "waiting", "", 0.0
        session.execute(delete(DriverRow).where(DriverRow.study_id == study_id, DriverRow.owner == this_process()))
        session.commit()


def give_back(engine: Engine, row_id: int, attempts: int) -> bool:
    """Give back a running trial of this process; return False where it has run as often as it may.

    Args:
        engine: Of the database.
        row_id: Id of the trial's row.
        attempts: Number of times that a trial may run.
    """
    with Session(engine) as session:
        row = session.get_one(TrialRow, row_id)
        if row.attempt >= attempts:
            return False
        if row.owner == this_process():  # else another process runs it again
            row.state, row.owner, row.lease_until = "waiting", "", 0.0
        session.commit()
        return True


def release_dead(engine: Engine, study_id: int) -> bool:
    """Give back the trials of processes that died; return whether another live process runs trials."""
    now = time.time()
    running = select(TrialRow).where(TrialRow.study_id == study_id, TrialRow.state == "running")
    with Session(engine) as session:
        for row in session.scalars(running):
            if not is_alive(row.owner, row.lease_until, now):
                row.state, row.owner, row.lease_until = "waiting", "", 0.0
        others = False
        for driver in session.scalars(select(DriverRow).where(DriverRow.study_id == study_id)):
            if not is_alive(driver.owner, driver.lease_until, now):
                session.delete(driver)
            elif driver.owner != this_process():
                others = True
        session.commit()
        return others
