"""A user's own network that lies in another folder than before: the candidates of its study name the new one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from paredown.spaces.candidate import Candidate
from paredown.studies.agreement import is_own_network
from paredown.studies.errors import StudyError
from paredown.studies.ownership import database_time
from paredown.studies.tables import RunnerRow, StudyRow, TrialRow


def is_searched(session: Session, study_id: int) -> bool:
    """Return whether a search of a study is alive, or was within a lease."""
    alive = RunnerRow.lease_until >= database_time(session.get_bind().dialect)
    return session.scalar(select(RunnerRow).where(RunnerRow.study_id == study_id, alive).limit(1)) is not None


def move_network(session: Session, row: StudyRow, config: Mapping[str, Any]) -> None:
    """Let every candidate of a study name the places that the user's own network has now.

    The digest of a candidate holds these places, and with them changes; what its network is, does not.

    Args:
        session: A transaction, which the caller commits.
        row: The study, with its configuration of before.
        config: The configuration with the new places.

    Raises:
        StudyError: Another search of the study is alive, and would go on with the places of before.
    """
    if not config.get("model") or _places(config) == _places(row.config):
        return
    if is_searched(session, row.id):
        raise StudyError(
            f"the network of study {row.name!r} has moved to {_places(config)['folder']}, and another search of the "
            "study has it where it was; stop that search first"
        )
    for trial in session.scalars(select(TrialRow).where(TrialRow.study_id == row.id)):
        if is_own_network(trial.candidate):
            trial.candidate = moved(trial.candidate, config)
            trial.digest = Candidate.from_json(trial.candidate).digest


def moved(candidate: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a candidate, as plain data, with the places of a configuration where it is the user's own network."""
    places = _places(config) if is_own_network(candidate) else {}
    return {**candidate, "knobs": {**candidate["knobs"], **places}}


def _places(config: Mapping[str, Any]) -> dict[str, str]:
    return {"folder": str(Path(config["task_folder"]).resolve()), "weights": config.get("weights") or ""}
