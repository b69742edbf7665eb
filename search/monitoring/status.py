"""What searches of a study do now, put together from its database and its status files."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paredown.search.monitoring.search_progress import left_text, running_text, time_text
from paredown.search.monitoring.status_file import is_alive, read_statuses
from paredown.studies.region import limits_summary
from paredown.studies.result import CAUSE
from paredown.studies.study import Study

LAST_FAILURES = 5


def study_status(study: Study) -> dict[str, Any]:
    """Return the status of a study as plain data: its trials by state, its searches, its last failures."""
    now, searches = time.time(), []
    for _, status in read_statuses(Path(study.folder)):
        alive = is_alive(status)
        since = {"silent_s": round(now - status["updated_at"], 1)}
        running = [one | {"running_s": round(now - one["since"], 1)} for one in status["running"]] if alive else []
        searches.append(status | since | {"alive": alive, "running": running})
    failed = [row for row in study.rows() if row["state"] == "failed"][-LAST_FAILURES:]
    return {
        "study": study.name,
        "folder": study.folder,
        "counts": study.counts(),
        "limits": limits_summary(study.objectives),
        "searches": searches,
        "failures": [
            {"trial": row["number"], "cause": row["facts"].get(CAUSE, ""), "reason": row["reason"]} for row in failed
        ],
    }


def status_lines(status: Mapping[str, Any]) -> list[str]:
    """Return a status as lines of text."""
    alive = [search for search in status["searches"] if search["alive"]]
    counts = _with_prepared(status["counts"], sum(len(search["running"]) for search in alive))
    lines = [f"{status['study']}: {', '.join(f'{n} {state}' for state, n in counts.items()) or 'no trials'}"]
    if limits := [limit["text"] for limit in status["limits"].values()]:
        lines.append(f"  limits: {', '.join(limits)}")
    if not alive:
        ended = [search["ended"] for search in status["searches"] if "ended" in search]
        died = [search for search in status["searches"] if "ended" not in search]
        said = f"; the last one ended: {ended[-1]}" if ended else ""
        said += f"; {len(died)} died without a word: the same command goes on" if died else ""
        lines.append(f"  no search runs{said}")
    for search in alive:
        lines += _search_lines(search)
    for failure in status["failures"]:
        cause = f" ({failure['cause']})" if failure["cause"] else ""
        reason = failure["reason"].partition("\n")[0]
        lines.append(f"  trial {failure['trial']} failed{cause}: {reason}")
    return lines


def _with_prepared(counts: Mapping[str, int], running: int) -> dict[str, int]:
    """Return the numbers of trials, those that a search has asked for ahead of time apart from those that run."""
    ahead = counts.get("running", 0) - running
    if not running or ahead <= 0:
        return dict(counts)
    return {**counts, "running": running, "prepared": ahead}


def _search_lines(search: Mapping[str, Any]) -> list[str]:
    """Return lines that fit a terminal of 80 columns."""
    lines = [f"  process {search['pid']} on {search['host']}, seen {search['silent_s']:.0f} s ago"]
    pace = "" if search["trial_s"] is None else f", {time_text(search['trial_s'])} a trial"
    left = left_text(search.get("needed_s", search["seconds_left"]), search.get("deadline_s"))
    lines.append(f"    {search['spent']} of {search['trials']} trials, {search['workers']} at a time{pace}{left}")
    if search["supernet"]:
        lines.append(f"    {search['supernet']}")
    for trial in search["running"]:
        shown = running_text(trial["epochs"], trial["metrics"])
        lines.append(f"    trial {trial['trial']}: {shown}, since {time_text(trial['running_s'])}")
    return lines
