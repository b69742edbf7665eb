"""What is said of many jobs at once: in a few statements, and no more than is known."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, delete, event
from sqlalchemy.orm import Session
from toy_study import CONFIG, objectives, run

from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.sampler import Problem
from paredown.search.service.overview import Overview
from paredown.studies.database import open_storage
from paredown.studies.queue.figures import Figures, figures_of
from paredown.studies.queue.job import Job
from paredown.studies.queue.jobs import JobQueue
from paredown.studies.queue.waiting import estimates, missing_resources, positions
from paredown.studies.queue.workers import Presence, live_workers
from paredown.studies.study import Study
from paredown.studies.tables import JobRow, WorkerRow


@pytest.fixture
def engine(database: str) -> Engine:
    engine = open_storage(database).engine
    with Session(engine) as session:
        for table in (JobRow, WorkerRow):
            session.execute(delete(table))
        session.commit()
    return engine


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """Count the statements that are sent."""
    sent: list[str] = []

    def keep(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if not statement.startswith("BEGIN"):  # SQLite's own
            sent.append(statement)

    event.listen(engine, "before_cursor_execute", keep)
    yield sent
    event.remove(engine, "before_cursor_execute", keep)


def add(engine: Engine, owner: str, study: str, **options: Any) -> Job:
    payload = {"study": study, "trials": 10, "workers": 2}
    return JobQueue(engine).add(owner, study, payload, f"out/{owner}/{study}", **options)


def begun(database: str, job: Job, trials: int, limit: float | None = None) -> Study:
    """Run trials of the study of a job."""
    config = CONFIG | {"objectives": ["accuracy", "size_bytes"], "limits": {}}
    study = Study.create(database, job.stored_name, config, objectives(limit), job.folder)
    study.use(SAMPLERS["random"](Problem(0, 20)))
    run(study, trials)
    return study


def owner() -> str:
    return f"alice-{secrets.token_hex(4)}"


def test_figures_are_those_of_each_study_read_alone(engine: Engine, database: str) -> None:
    alice = owner()
    jobs = [add(engine, alice, f"s{number}") for number in range(3)]
    studies = [begun(database, jobs[0], 5), begun(database, jobs[1], 8, limit=4000.0)]
    studies[1].ask(lambda trial: studies[1].baseline_candidate)
    found = figures_of(engine, [job.id for job in jobs])
    assert set(found) == {jobs[0].id, jobs[1].id}, "the third has not begun"
    for job, study in zip(jobs, studies, strict=False):
        assert found[job.id].counts == study.counts()
        feasible = [model for model in study.models() if model.feasible]
        assert feasible
        best = {"accuracy": max(m["accuracy"] for m in feasible), "size_bytes": min(m["size_bytes"] for m in feasible)}
        assert found[job.id].best == pytest.approx(best)
        seconds = found[job.id].trial_s
        assert seconds is not None
        assert 0 <= seconds < 60
    assert any(not model.feasible for model in studies[1].models()), "the limit keeps some out"


def test_a_list_takes_as_many_statements_for_one_study_as_for_forty(engine: Engine, database: str) -> None:
    alice = owner()
    for number in range(3):
        begun(database, add(engine, alice, f"s{number}"), 2)
    overview = Overview(engine)
    with statements(engine) as few:
        assert len(overview.all(alice)) == 3
    for number in range(40):
        add(engine, alice, f"t{number}")
    begun(database, add(engine, alice, "last"), 2)
    with statements(engine) as many:
        seen = overview.all(alice)
    assert len(seen) == 44
    assert sum(one.figures.finished for one in seen) == 8
    assert len(few) == len(many) <= 5, many
    assert [one.position for one in seen if one.job.state == "queued"] == list(range(1, 45))
    assert overview.all(owner()) == [], "another owner sees none of them"


def test_figures_of_a_running_study_are_read_once_for_all_who_follow_it(engine: Engine, database: str) -> None:
    job = add(engine, owner(), "s")
    study = begun(database, job, 2)
    queue, overview = JobQueue(engine), Overview(engine)
    running = queue.claim("w")
    assert running is not None
    first = overview.look(running)
    with statements(engine) as sent:
        assert overview.look(running) == first
    assert not any("measurements" in statement for statement in sent)
    run(study, 1)
    queue.finish(running, "done")
    done = queue.find(job.owner, job.study)
    assert done is not None
    assert overview.look(done).figures.counts == {"done": 3}, "one that rests is as it is now"


def test_a_job_goes_to_a_worker_that_offers_what_it_needs(engine: Engine) -> None:
    queue, alice = JobQueue(engine), owner()
    add(engine, alice, "board", needs=["jetson", "camera"])
    add(engine, alice, "any")
    plain = Presence(engine, "plain", frozenset())
    plain.renew()
    states = {seen.job.study: seen for seen in Overview(engine).all(alice)}
    assert (states["board"].state, states["board"].position) == ("waiting for device", None)
    assert states["board"].estimate is not None
    assert states["board"].estimate.basis == "no worker offers camera, jetson"
    assert (states["any"].state, states["any"].position) == ("queued", 1)
    claimed = queue.claim("plain")
    assert claimed is not None
    assert claimed.study == "any"
    assert queue.claim("plain") is None
    assert queue.claim("half", offers=frozenset({"jetson"})) is None
    Presence(engine, "lab", frozenset({"jetson", "camera", "npu"})).renew()
    board = queue.find(alice, "board")
    assert board is not None
    assert Overview(engine).look(board).state == "queued"
    taken = queue.claim("lab", offers=frozenset({"jetson", "camera", "npu"}))
    assert taken is not None
    assert taken.study == "board"


def test_a_worker_is_there_until_it_leaves_or_its_lease_lapses(engine: Engine) -> None:
    worker = Presence(engine, "w", frozenset({"npu"}))
    worker.renew()
    assert live_workers(engine) == {"w": {"npu"}}
    with statements(engine) as sent:
        worker.renew()
    assert sent == [], "not at each look"
    Presence(engine, "dead", frozenset(), lease_s=-1.0).renew()
    assert set(live_workers(engine)) == {"w"}
    worker.leave()
    assert live_workers(engine) == {}


def job(number: int, state: str = "queued", **changed: Any) -> Job:
    values = dict.fromkeys(Job.__dataclass_fields__) | {
        "id": number,
        "state": state,
        "owner": "o",
        "study": f"s{number}",
    }
    values |= {"payload": {"trials": 10, "workers": 2}, "priority": 0, "run_after": 0.0, "needs": "", "runner": ""}
    return Job(**(values | changed))  # type: ignore[arg-type]


def times(*jobs: Job, figures: dict[int, Figures], workers: list[str]) -> dict[int, tuple[float | None, float | None]]:
    found = estimates(jobs, figures, {token: frozenset() for token in workers}, 1000.0)
    assert all(one.basis for one in found.values())
    return {number: (one.starts_in_s, one.ends_in_s) for number, one in found.items()}


def test_times_follow_from_finished_trials_and_the_place_in_the_queue() -> None:
    running = job(1, "running", runner="w")
    figures = {1: Figures({"done": 4, "running": 2}, {}, 60.0)}
    assert times(running, figures=figures, workers=["w"]) == {1: (0.0, 180.0)}
    queue = [job(2), job(3, payload={"trials": 20})]
    assert times(running, *queue, figures=figures, workers=["w"]) == {
        1: (0.0, 180.0),
        2: (180.0, 480.0),
        3: (480.0, 1080.0),
    }
    assert times(running, *queue, figures=figures, workers=["w", "v"])[2] == (0.0, 300.0)
    later = job(4, run_after=1000.0 + 5000.0)
    assert times(running, later, figures=figures, workers=["w"])[4] == (5000.0, 5300.0)
    again = figures | {2: Figures({"done": 9}, {}, 10.0)}
    assert times(running, job(2), figures=again, workers=["w"])[2] == (180.0, 185.0), "its own trials count"


def test_what_is_not_known_is_not_guessed() -> None:
    running, waiting = job(1, "running", runner="w"), job(2)
    assert times(running, waiting, figures={}, workers=["w"]) == {1: (0.0, None), 2: (None, None)}
    assert times(waiting, figures={}, workers=["w"]) == {2: (0.0, None)}
    assert times(waiting, figures={}, workers=[]) == {2: (None, None)}
    board = job(3, needs="jetson")
    found = estimates([board], {}, {"w": frozenset()}, 0.0)
    assert found[3].basis == "no worker offers jetson"
    assert missing_resources(board, [frozenset()]) == ["jetson"]
    assert positions([board, waiting], []) == {2: 1}
