from pathlib import Path
from typing import Any

import pytest
import yaml

from paredown.search.service.worker import Worker
from paredown.studies.database import open_storage
from paredown.studies.queue.jobs import JobQueue


def test_a_worker_goes_on_looking_where_the_database_does_not_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "service.db"
    worker = Worker(f"sqlite:///{file}")
    worker.run(until_empty=True)
    assert capsys.readouterr().err == ""
    file.unlink()
    worker.run(until_empty=True)
    assert "the database did not answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ray_address", "given", "expected"),
    [
        (None, {"custom": {"jetson": 1}}, None),
        (None, {"cpu": 2, "custom": {"jetson": 1}}, {"cpu": 2}),
        ("127.0.0.1:6379", {"cpu": 2, "custom": {"jetson": 1}}, {"cpu": 2, "custom": {"jetson": 1}}),
        (None, None, None),
    ],
)
def test_what_a_study_needs_of_its_worker_is_asked_of_ray_alone(
    tmp_path: Path, ray_address: str | None, given: dict[str, Any] | None, expected: dict[str, Any] | None
) -> None:
    storage = f"sqlite:///{tmp_path / 'service.db'}"
    worker = Worker(storage, ray_address, offers=["jetson"])
    payload = {"study": "s"} | ({"resources": given} if given else {})
    job = JobQueue(open_storage(storage).engine).add("alice", "s", payload, str(tmp_path / "s"))
    worker._arguments(job, tmp_path)
    assert yaml.safe_load((tmp_path / "study.yaml").read_text()).get("resources") == expected
    assert job.payload == payload, "what is stored stays"
