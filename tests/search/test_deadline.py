"""When a search ends by the clock."""

import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from paredown.search.deadline import deadline_of, next_time
from paredown.search.errors import ConfigError
from paredown.search.study_file.schema import StudyConfig, checked_config

BASIC = {"study": "s", "task": "digits", "objectives": ["accuracy", "size_bytes"]}


def config(**keys: object) -> StudyConfig:
    return checked_config(BASIC | keys, "s.yaml", {})


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> ZoneInfo:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield ZoneInfo("Europe/Berlin")
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("now", "clock", "hours"),
    [
        ((2026, 6, 1, 22, 0), "07:00", 9.0),
        ((2026, 6, 1, 6, 30), "07:00", 0.5),
        ((2026, 6, 1, 7, 0), "07:00", 24.0),
        ((2026, 3, 28, 22, 0), "07:00", 8.0),  # clocks are put forward in this night
        ((2026, 10, 24, 22, 0), "07:00", 10.0),  # and back in this one
    ],
)
def test_a_time_of_day_is_the_next_one(berlin: ZoneInfo, now: tuple[int, ...], clock: str, hours: float) -> None:
    moment = datetime(*now, tzinfo=berlin)  # type: ignore[arg-type,misc]
    assert next_time(clock, moment).timestamp() - moment.timestamp() == hours * 3600


def test_the_earlier_of_timeout_and_time_of_day_ends_the_search() -> None:
    began = time.monotonic() - 10
    assert deadline_of(config(), began) is None
    assert deadline_of(config(timeout="60s"), began) == began + 60
    clock = datetime.fromtimestamp(time.time() - 3600).strftime("%H:%M")  # an hour ago: in about 23 hours
    by_clock = deadline_of(config(until=clock), began)
    assert by_clock is not None
    assert 21 * 3600 < by_clock - time.monotonic() < 24.1 * 3600
    assert deadline_of(config(until=clock, timeout="60s"), began) == began + 60
    assert deadline_of(config(until=clock, timeout="30d"), began) == pytest.approx(by_clock, abs=5)


@pytest.mark.parametrize(("written", "read"), [("07:00", "07:00"), ("7:05", "07:05"), (22 * 60 + 30, "22:30")])
def test_a_time_of_day_as_yaml_reads_it(written: object, read: str) -> None:
    assert config(until=written).until == read


@pytest.mark.parametrize("written", ["24:00", "7", "07:60", 24 * 60, True, "7am"])
def test_what_is_no_time_of_day_is_refused(written: object) -> None:
    with pytest.raises(ConfigError, match=r"s\.yaml: until: .* is not a time of day such as 07:00 or 22:30"):
        config(until=written)
