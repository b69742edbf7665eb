"""When a search ends by the clock."""

import time
from datetime import datetime, timedelta

from paredown.search.study_file.schema import StudyConfig


def deadline_of(config: StudyConfig, began: float) -> float | None:
    """Return the `time.monotonic()` at which a search ends: the earlier of `timeout` and `until`; None for no limit.

    Args:
        config: The study file.
        began: `time.monotonic()` from which `timeout` counts.
    """
    ends = [] if config.timeout is None else [began + config.timeout]
    if config.until is not None:
        now = datetime.now().astimezone()
        ends.append(time.monotonic() + (next_time(config.until, now) - now).total_seconds())
    return min(ends, default=None)


def next_time(clock: str, now: datetime) -> datetime:
    """Return the next moment at which clocks show a time of day: today or, where that is past, tomorrow.

    Args:
        clock: Such as 07:00.
        now: With a time zone.
    """
    hour, minute = map(int, clock.split(":"))
    local = now.replace(tzinfo=None)  # the offset of the zone may change before then
    at = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if at <= local:
        at += timedelta(days=1)
    return at.astimezone()
