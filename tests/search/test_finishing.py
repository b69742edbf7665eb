"""The end of a search: front and report, in a process that may neither hang nor hold the night."""

import time
from pathlib import Path

import pytest
import toy_exports
from toy_study import run

from paredown.search.finishing import Finished, finish, grace_end
from paredown.search.study_file.objectives import stored_objectives
from paredown.spaces.errors import ParedownError
from paredown.studies.selection import best_models
from paredown.studies.study import Study


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'studies.db'}"


@pytest.fixture
def study(storage: str, tmp_path: Path) -> Study:
    from toy_study import CONFIG, objectives

    from paredown.search.samplers.catalogue import SAMPLERS
    from paredown.search.samplers.sampler import Problem

    config = CONFIG | {"objectives": ["accuracy", "size_bytes"], "limits": {}}
    made = Study.create(storage, "toy", config, objectives(), str(tmp_path / "out"))
    made.use(SAMPLERS["random"](Problem(0, 20)))
    run(made, 8)
    (tmp_path / "out").mkdir()
    return Study.open(storage, "toy", stored_objectives)


def numbers(study: Study) -> list[int]:
    return [model.trial for model in best_models(study)]


def test_all_of_a_front_is_told_with_the_report(study: Study, storage: str) -> None:
    finished = finish(study, storage, None, toy_exports.writes_the_report_alone)
    assert [int(folder.name[-4:]) for folder in finished.folders] == numbers(study)
    assert finished.report == Path(study.folder, "report.html")
    assert "toy" in finished.report.read_text()
    assert [file.name for file in Path(study.folder).iterdir()] == ["report.html"], "nothing is left beside it"
    assert finished.is_whole
    assert finished.remark("toy", storage) == ""


def test_an_export_that_hangs_is_ended_and_what_is_missing_is_named(study: Study, storage: str) -> None:
    front = numbers(study)
    assert len(front) > 3
    finished = finish(study, storage, time.monotonic() + 10, toy_exports.hangs_after_the_first)
    assert [folder.name for folder in finished.folders] == [f"trial-{front[0]:04d}"]
    assert [str(reason) for reason in finished.refused] == [f"trial {front[1]}: it is not liked"]
    assert finished.missing == tuple(front[2:])
    assert not finished.is_whole
    named = " ".join(f"--trial {number}" for number in front[2:])
    said = finished.remark("toy", storage)
    assert said.startswith(f"not exported in time: trials {', '.join(map(str, front[2:]))}; ")
    assert said.endswith(f"`paredown export toy --storage {storage} {named}` exports them")


def test_without_a_deadline_too_an_export_that_stalls_is_ended(
    study: Study, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paredown.search.finishing.STALL_S", 10.0)
    finished = finish(study, storage, None, toy_exports.hangs_at_the_report)
    assert finished.missing == ()
    assert finished.remark("toy", "sqlite:///paredown.db") == (
        "the report was not written in time; `paredown report toy` writes it"
    )


def test_what_is_wrong_as_a_whole_is_raised(study: Study, storage: str) -> None:
    with pytest.raises(ParedownError, match="the data is gone"):
        finish(study, storage, None, toy_exports.has_no_data)
    with pytest.raises(RuntimeError, match="ended with exit code -9"):
        finish(study, storage, None, toy_exports.is_killed)


def test_passwords_are_not_in_the_command_and_many_trials_are_the_front() -> None:
    finished = Finished((), (), tuple(range(40)), None)
    said = finished.remark("toy", "postgresql+psycopg://me:geheim@host/db")
    assert "geheim" not in said
    assert said.endswith("`paredown export toy --storage postgresql+psycopg://me:***@host/db --front` exports them")


def test_the_grace_is_a_few_seconds_and_a_share_of_the_time(study: Study) -> None:
    assert grace_end(None, 0.0) is None
    assert grace_end(60.0, 0.0) == pytest.approx(71.0)
    assert grace_end(8 * 3600.0, 0.0) == pytest.approx(8 * 3600 + 308)
