from pathlib import Path

import pytest

from paredown.search.service.worker import Worker


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
