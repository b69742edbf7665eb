"""What the page Change does: more trials, failed trials again, candidates; who may, and what it says."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import toy_study
from sqlalchemy import update

pytest.importorskip("dash")

from paredown.search.errors import ConfigError
from paredown.search.service.pages import change_page, trial_page
from paredown.search.service.pages.changes import NotAllowed
from paredown.search.service.pages.dash_server import ASKER
from paredown.search.service.pages.place import Place
from paredown.search.service.pages.snapshot import Snapshots
from paredown.search.service.service import Service
from paredown.search.service.settings import Settings
from paredown.studies.access.tokens import Token
from paredown.studies.errors import StudyNotFound
from paredown.studies.queue.job import Job
from paredown.studies.queue.jobs import JobConflict
from paredown.studies.result import CAUSE, TrialResult
from paredown.studies.study import Study
from paredown.studies.tables import JobRow


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(Settings(f"sqlite:///{tmp_path / 'studies.db'}", tmp_path / "out"))


@pytest.fixture
def job(service: Service, tmp_path: Path) -> Job:
    """A study of alice's with 6 trials that is done."""
    added = service.jobs.add("alice", "mine", {"study": "mine", "trials": 6}, str(tmp_path / "out" / "alice" / "mine"))
    rest(service, added, "done")
    return service.find(token(service), "mine")


def token(service: Service, owner: str = "alice", scope: str = "submit") -> Token:
    found = service.tokens.check(service.tokens.create("test", owner, [scope]))
    assert found is not None
    return found


def rest(service: Service, job: Job, state: str) -> None:
    with service._storage.engine.begin() as connection:
        connection.execute(update(JobRow).where(JobRow.id == job.id).values(state=state))


@contextmanager
def asking(service: Service, owner: str = "alice", scope: str = "submit") -> Iterator[None]:
    """Be whoever a callback answers."""
    reset = ASKER.set((token(service, owner, scope), "127.0.0.1"))
    yield
    ASKER.reset(reset)


def place(service: Service, *parts: str, scope: str = "submit", **query: str) -> Place:
    return Place(service, token(service, scope=scope), ("studies", "mine", *parts), query)


def written(service: Service) -> list[tuple[str, int]]:
    """Return path and status of what the audit log holds, the latest first."""
    return [(one["path"], one["status"]) for one in service.audit.latest(20)]


def begun(tmp_path: Path, failures: dict[int, str]) -> Study:
    """Let the study have four trials in the database, some of which failed."""
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    made = toy_study.CONFIG | {"objectives": ["accuracy", "size_bytes"], "limits": {}}
    study = Study.create(url, "alice.mine", made, toy_study.objectives(), str(tmp_path / "out" / "alice" / "mine"))
    study.use(toy_study.SAMPLERS["random"](toy_study.Problem(0, 20)))
    while len(study.rows()) < 4 or any(row["state"] == "running" for row in study.rows()):
        asked = study.ask(toy_study.sample)
        if asked is not None:
            cause = failures.get(asked.number)
            result = toy_study.outcome(asked.candidate)
            study.tell(
                asked.number, result if cause is None else TrialResult("failed", cause, {}, facts={CAUSE: cause})
            )
    return study


def test_a_study_goes_on_to_more_trials(service: Service, job: Job) -> None:
    with asking(service):
        for trials, said in ((6, "6"), (None, "nothing"), (100_001, "100001"), ("9", "'9'"), (7.5, "7.5")):
            with pytest.raises(ConfigError, match=f"{said} is not allowed; allowed: a whole number from 7 to 100,000"):
                change_page.extend(service, "mine", trials)
        assert service.find(token(service), "mine").state == "done"
        assert change_page.extend(service, "mine", 9) == "mine is in the queue again, and goes on to 9 trials."
        again = service.find(token(service), "mine")
        assert (again.state, again.trials) == ("queued", 9)
        with pytest.raises(JobConflict, match="study 'mine' is queued; to extend it is possible when it is done or"):
            change_page.extend(service, "mine", 12)
    assert written(service)[:2] == [("/v1/studies/mine/extend", 422), ("/v1/studies/mine/extend", 200)]


@pytest.mark.parametrize(
    "change",
    [
        lambda service: change_page.extend(service, "mine", 9),
        lambda service: change_page.retry(service, "mine", ["timeout"]),
        lambda service: change_page.enqueue(service, "mine", "mbconv.width=1", None),
    ],
)
def test_nobody_changes_a_study_who_may_only_read_it_or_whose_it_is_not(
    service: Service, job: Job, change: Any
) -> None:
    with asking(service, scope="read"), pytest.raises(NotAllowed, match="this token allows read; needed: submit"):
        change(service)
    with asking(service, "mallory"), pytest.raises(StudyNotFound, match="no study 'mine'"):
        change(service)
    assert service.find(token(service), "mine") == job
    assert [status for _, status in written(service)] == [422, 403]


def test_failed_trials_are_counted_by_cause(service: Service, job: Job, tmp_path: Path) -> None:
    page = str(change_page.layout(place(service, "change"), Snapshots(service)))
    assert "No trial has failed." in page
    assert "when the study has begun" in page
    begun(tmp_path, {1: "timeout", 2: "timeout", 3: "killed"})
    reader = service.reader(job)
    assert reader is not None
    assert reader.failures() == {"timeout": 2, "killed": 1}
    page = str(change_page.layout(place(service, "change"), Snapshots(service)))
    assert "timeout (2)" in page
    assert "3 failed." in page


def test_a_variant_begins_with_the_knobs_of_its_trial(service: Service, job: Job, tmp_path: Path) -> None:
    study = begun(tmp_path, {})
    knobs = study.rows()[1]["candidate"]["knobs"]
    page = str(change_page.layout(place(service, "change", like="1"), Snapshots(service)))
    for name, value in knobs.items():
        assert f"mbconv.{name}={value}" in page
    assert "try a variant" in str(trial_page.layout(place(service, "trials", "1"), Snapshots(service))).lower()
    for like in ("99", "x", "", "9" * 30):  # an address that someone wrote
        assert "=9\n" not in str(change_page.layout(place(service, "change", like=like), Snapshots(service)))
    with asking(service):
        for text, like, said in (("", None, "name a knob"), ("x", None, "KNOB=VALUE"), ("a=1", -1, "like trial: -1")):
            with pytest.raises(ConfigError, match=said):
                change_page.enqueue(service, "mine", text, like)


def test_who_may_only_read_is_told_so_and_finds_no_way_there(service: Service, job: Job, tmp_path: Path) -> None:
    begun(tmp_path, {})
    reading = str(change_page.layout(place(service, "change", scope="read"), Snapshots(service)))
    assert "This token only reads." in reading
    assert "id='extend'" not in reading
    assert "'/studies/mine/change'" not in reading
    trial = str(trial_page.layout(place(service, "trials", "1", scope="read"), Snapshots(service)))
    assert "try a variant" not in trial.lower()
    assert "'/studies/mine/change'" in str(change_page.layout(place(service, "change"), Snapshots(service)))
