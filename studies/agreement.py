"""Whether a later run agrees with the configuration that a study began with, and what it may change.

What decides results is fixed with the first result. Where data and modules lie is no part of that: data and networks
are known by their digests, see `docs/decisions/0015-a-study-belongs-to-its-database.md`.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from paredown.studies.errors import StudyError
from paredown.studies.results import KNOWN
from paredown.studies.tables import StudyRow, TrialRow

KEPT_KEYS = frozenset({"device", "step_labels"})
"""Keys of a configuration that keep their first values: a later run adopts them and need not agree."""
PLACE_KEYS = ("task_folder", "task", "baseline", "weights", "distillation")
"""Keys that hold places, whole or in part; those of the latest run are stored."""
PLACE_OPTIONS = ("path", "function")
"""Options of tasks that say where the data lie; a task without one has its data built in."""
PLACE_KNOBS = ("folder", "weights")
"""Knobs of the user's own network that say where it lies; another one, `digest`, says what it is."""
FIXED_FROM_THE_START = frozenset({"objectives", "space"})
"""Keys that the trials in Optuna depend on, also those that have failed."""


def agreed(name: str, stored: Mapping[str, Any], requested: Mapping[str, Any], *, is_begun: bool) -> dict[str, Any]:
    """Return the configuration of a study from now on: as it was, with the places of today.

    Args:
        name: Name of the study.
        stored: The configuration that the study has.
        requested: The configuration that a run asks for.
        is_begun: Whether the study has results, or trials that run; until then, a run may ask for other things.

    Raises:
        StudyError: The two differ in what decides results; the message names the keys, or the digests of the data.
    """
    different = differences(stored, requested)
    if different and not is_begun and not FIXED_FROM_THE_START & different.keys():
        return {**requested, **{key: stored[key] for key in KEPT_KEYS & stored.keys()}}
    if "task" in different and _data(stored) != _data(requested):
        place = place_of(requested["task"]) or requested["task"]["name"]
        raise StudyError(
            f"study {name!r} has learned data of the digest {_data(stored)}; that of the data at {place} is "
            f"{_data(requested)}: restore the data, name a new study with --study, or say where the data of this one "
            f"lie: paredown adopt {name} --data PATH"
        )
    if different:
        raise StudyError(
            f"study {name!r} exists with another {', '.join(different)}; name a new study with "
            "--study, or ask for the same:\n"
            + "\n".join(f"  {k}: stored {a!r}, now {b!r}" for k, (a, b) in different.items())
        )
    return {**stored, **{key: requested[key] for key in PLACE_KEYS if key in requested}}


def differences(stored: Mapping[str, Any], requested: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return each key whose value differs, with the stored and the requested value, places left out."""
    before, now = _without_places(stored), _without_places(requested)
    keys = sorted((before.keys() | now.keys()) - KEPT_KEYS)
    return {k: (before.get(k), now.get(k)) for k in keys if before.get(k) != now.get(k)}


def place_of(task: Mapping[str, Any]) -> str:
    """Return where the data of a task lie, as its options have it; empty where they are built in."""
    return next((str(task["options"][key]) for key in PLACE_OPTIONS if key in task["options"]), "")


def is_own_network(candidate: Mapping[str, Any]) -> bool:
    """Return whether a candidate, as plain data, is the user's own network."""
    return all(name in candidate["knobs"] for name in (*PLACE_KNOBS, "function", "digest"))


def _data(config: Mapping[str, Any]) -> str:
    return str(config.get("task", {}).get("data", ""))


def _without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in config.items() if key not in ("task_folder", "weights")}
    if "task" in rest:
        task = rest["task"]
        options = {key: value for key, value in task["options"].items() if key not in PLACE_OPTIONS}
        rest["task"] = {**task, "options": options}
    if "distillation" in rest:  # its digest is that of the network with its weights
        rest["distillation"] = {key: value for key, value in rest["distillation"].items() if key != "weights"}
    if "baseline" in rest and is_own_network(rest["baseline"]):
        knobs = {key: value for key, value in rest["baseline"]["knobs"].items() if key not in PLACE_KNOBS}
        rest["baseline"] = {**rest["baseline"], "knobs": knobs}
    if "warm_start" in rest:  # the studies that are named; what they held is that of the first run
        rest["warm_start"] = [one["study"] for one in rest["warm_start"]]
    return rest


def is_begun(session: Session, row: StudyRow) -> bool:
    """Return whether a study has results, or trials that are on their way to them."""
    trials = select(TrialRow.id).where(TrialRow.study_id == row.id, TrialRow.state.in_((*KNOWN, "waiting")))
    return session.scalar(trials.where(TrialRow.state != "failed").limit(1)) is not None
