"""What is done to whole studies: both engines, ours and Optuna's rows together, and the files."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from toy_study import BASELINE, CONFIG, objectives, outcome, run, sample

from paredown.evaluators.metrics.measurement import Measurement
from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.sampler import Problem
from paredown.spaces.candidate import Candidate
from paredown.studies.database import open_storage
from paredown.studies.errors import StudyError, StudyNotFound
from paredown.studies.housekeeping.comparing import compare, differing
from paredown.studies.housekeeping.copying import copy_study
from paredown.studies.housekeeping.deleting import delete_study
from paredown.studies.housekeeping.renaming import rename_study
from paredown.studies.housekeeping.stored_studies import OPTUNAS, OURS
from paredown.studies.records import list_studies
from paredown.studies.result import Derived, TrialResult
from paredown.studies.study import Study


def make(url: str, folder: Path, name: str = "toy", seed: int = 0, **config: Any) -> Study:
    study = Study.create(url, name, CONFIG | config, objectives(), str(folder / name))
    study.use(SAMPLERS["random"](Problem(seed, 20)))
    return study


def opened(url: str, name: str) -> Study:
    study = Study.open(url, name, lambda stored: objectives())
    study.use(SAMPLERS["random"](Problem(7, 20)))
    return study


def table_sizes(url: str) -> dict[str, int]:
    """Return the number of rows of each table that holds any, versions left out."""
    with Session(open_storage(url).engine) as session:
        tables = [*OURS.sorted_tables, *OPTUNAS.sorted_tables]
        sizes = {table.name: session.scalar(select(func.count()).select_from(table)) or 0 for table in tables}
    return {name: size for name, size in sizes.items() if size and "version" not in name}


def yes(deletion: object) -> bool:
    return True


def delete(url: str, name: str, *, artifacts: bool = False, keep_models: bool = False) -> None:
    assert delete_study(url, name, artifacts=artifacts, keep_models=keep_models, confirmed=yes) is not None


def test_a_deleted_study_leaves_no_row_and_the_others_whole(database: str, tmp_path: Path) -> None:
    other = make(database, tmp_path, "other")
    run(other, 2)
    other.leave()
    before, models = table_sizes(database), other.models()
    study = make(database, tmp_path)
    run(study, 3)
    study.leave()
    assert table_sizes(database) != before
    delete(database, "toy")
    assert table_sizes(database) == before
    assert opened(database, "other").models() == models
    anew = make(database, tmp_path)
    assert anew.counts() == {}, "a new study of the same name begins anew"
    delete(database, "other")
    delete(database, "toy")


def test_a_study_that_optunas_dashboard_deleted_can_be_deleted(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    study = make(url, tmp_path)
    run(study, 1)
    study.leave()
    optuna.delete_study(study_name="toy", storage=study._storage)
    delete(url, "toy")
    assert table_sizes(url) == {}


def test_files_go_only_where_asked_and_only_those_of_a_search(tmp_path: Path) -> None:
    url, folder = f"sqlite:///{tmp_path}/studies.db", tmp_path / "toy"
    for name in ("trials/x/model.onnx", "cache/a", "status/b.json", "search.log", "report.html", "mine.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    for name in ("models/trial-0001/manifest.json", "models/trial-0001/model.onnx", "models/notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")

    def left() -> list[str]:
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    everything = left()
    make(url, tmp_path)
    delete(url, "toy")
    assert left() == everything
    make(url, tmp_path)
    delete(url, "toy", artifacts=True, keep_models=True)
    exported = ["models/trial-0001/manifest.json", "models/trial-0001/model.onnx"]
    assert left() == ["mine.txt", "models/notes.txt", *exported, "report.html"]
    make(url, tmp_path)
    delete(url, "toy", artifacts=True)
    assert left() == ["mine.txt", "models/notes.txt"], "what is not ours stays"


def test_files_that_another_study_has_stay(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    make(url, tmp_path)
    Study.create(url, "twin", CONFIG, objectives(), str(tmp_path / "toy"))
    with pytest.raises(StudyError, match="study 'twin' has the same folder"):
        delete(url, "toy", artifacts=True)
    assert [study["study"] for study in list_studies(url)] == ["toy", "twin"]


def test_what_is_not_confirmed_is_not_deleted(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    study = make(url, tmp_path)
    run(study, 2)
    study.leave()
    asked = []
    no = delete_study(url, "toy", artifacts=False, keep_models=False, confirmed=lambda deletion: asked.append(deletion))  # type: ignore[arg-type, func-returns-value]
    assert (no, asked[0].counts) == (None, {"done": 2})
    assert opened(url, "toy").counts() == {"done": 2}


def test_a_study_that_a_search_has_is_neither_deleted_nor_renamed(database: str, tmp_path: Path) -> None:
    study = make(database, tmp_path)
    run(study, 1)
    with pytest.raises(StudyError, match=r"study 'toy' is being searched by process \d+ on .+; stop it first"):
        delete(database, "toy")
    with pytest.raises(StudyError, match="stop it first"):
        rename_study(database, "toy", "new")
    study.leave()
    rename_study(database, "toy", "new")
    delete(database, "new")


def test_a_renamed_study_goes_on(database: str, tmp_path: Path) -> None:
    study = make(database, tmp_path)
    ran = run(study, 2)
    study.leave()
    assert rename_study(database, "toy", "new") == str(tmp_path / "toy")
    again = opened(database, "new")
    assert [model.candidate for model in again.models()] == ran
    assert ran + run(again, 1) == [model.candidate for model in again.models()]
    again.leave()
    with pytest.raises(StudyNotFound, match="no study 'toy'"):
        opened(database, "toy")
    delete(database, "new")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("toy", "other", "study 'other' exists already"),
        ("toy", "toy", "has that name already"),
        ("toy", "../up", "is not allowed as the name of a study"),
        ("toy", "optunas", "a study 'optunas' of Optuna's exists already"),
        ("tyo", "new", "no study 'tyo' in .*; studies there: other, toy; did you mean 'toy'?"),
    ],
)
def test_names_that_cannot_be_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    for name in ("toy", "other"):
        make(url, tmp_path, name)
    optuna.create_study(study_name="optunas", storage=open_storage(url))
    with pytest.raises(StudyError, match=message):
        rename_study(url, old, new)
    with pytest.raises(StudyError, match=message.replace("has that name already", "exists already")):
        copy_study(url, old, new, url, None)
    assert [study["study"] for study in list_studies(url)] == ["other", "toy"]


def test_a_copy_is_whole_and_goes_its_own_way(database: str, tmp_path: Path) -> None:
    study = make(database, tmp_path)
    run(study, 2)
    asked = study.ask(sample)
    assert asked is not None
    changed = {"mbconv.width": 0, "mbconv.depth": 0}
    derived = Derived(Candidate("mbconv", changed), changed, outcome(BASELINE).measurements, "trials/x")
    done = outcome(asked.candidate)
    study.tell(asked.number, TrialResult("done", "", done.measurements, "trials/x", {}, done.curve, (derived,)))
    running = study.ask(sample)
    assert running is not None
    (tmp_path / "toy" / "trials" / "x").mkdir(parents=True)
    (tmp_path / "toy" / "trials" / "x" / "model.onnx").write_text("network")

    copied = copy_study(database, "toy", "new", database, None)
    assert (copied.trials, copied.folder, copied.has_files) == (5, tmp_path / "new", True)
    assert (tmp_path / "new/trials/x/model.onnx").read_text() == "network"
    new = opened(database, "new")
    assert new.models() == study.models()
    assert new.curves() == study.curves()
    assert new.counts() == {"done": 3, "derived": 1, "waiting": 1}
    again = new.ask(sample)
    assert again == running, "what runs in the one is in line in the other"
    new.tell(running.number, outcome(running.candidate))
    run(new, 2)
    new.leave()
    assert study.counts() == {"done": 3, "derived": 1, "running": 1}
    study.tell(running.number, outcome(running.candidate))
    study.leave()
    assert len(study.models()) == 5
    assert len(opened(database, "new").models()) == 7
    for name in ("toy", "new"):
        delete(database, name)


def test_a_derived_trial_that_has_no_number_yet_gets_it_in_the_copy(tmp_path: Path, monkeypatch: Any) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    study = make(url, tmp_path)
    run(study, 1)
    asked = study.ask(sample)
    assert asked is not None
    changed = {"mbconv.width": 0, "mbconv.depth": 0}
    derived = Derived(Candidate("mbconv", changed), changed, outcome(BASELINE).measurements, "trials/x")
    done = outcome(asked.candidate)
    with monkeypatch.context() as patch:
        patch.setattr(Study, "_number_derived", lambda self: None)  # a kill
        study.tell(asked.number, TrialResult("done", "", done.measurements, "trials/x", {}, derived=(derived,)))
    copy_study(url, "toy", "new", f"sqlite:///{tmp_path}/deep.db", None)
    new = opened(f"sqlite:///{tmp_path}/deep.db", "new")
    new.recover()
    assert new.counts() == {"done": 2, "derived": 1}
    assert [model.trial for model in new.models()] == [0, 1, 2]


def test_a_copy_in_another_database_may_keep_its_name(tmp_path: Path) -> None:
    url, to = (f"sqlite:///{tmp_path}/{name}.db" for name in ("a", "b"))
    study = make(url, tmp_path)
    run(study, 3)
    copied = copy_study(url, "toy", "toy", to, tmp_path / "elsewhere")
    assert not copied.has_files
    assert opened(to, "toy").models() == study.models()
    assert list_studies(to)[0]["folder"] == str(tmp_path / "elsewhere")


def test_a_copy_does_not_mix_its_files_with_others(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    make(url, tmp_path)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "letter.txt").write_text("mine")
    with pytest.raises(StudyError, match="is not empty; name another folder"):
        copy_study(url, "toy", "new", url, None)


def test_studies_are_compared_in_one_reference(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    first, second = make(url, tmp_path, "first"), make(url, tmp_path, "second", seed=3, task={"name": "digits"})
    run(first, 4)
    run(second, 1)
    asked = second.ask(sample)
    assert asked is not None
    good = {name: Measurement(name, value) for name, value in {"accuracy": 1.0, "size_bytes": 1.0}.items()}
    second.tell(asked.number, TrialResult("done", "", good, "trials/x"))
    found = compare([first, second])
    a, b = found["studies"]
    assert found["objectives"] == ["accuracy", "size_bytes"]
    assert found["reference"] == {"study": "first", "trial": 0}
    assert b["hypervolume"] > 0.99 > a["hypervolume"] > 0
    assert (b["best"], b["front"]) == ({"accuracy": 1.0, "size_bytes": 1.0}, 1)
    assert found["differences"] == {"task.name": [None, "digits"]}
    assert compare([first, make(url, tmp_path, "empty")])["studies"][1]["best"] == {}


def test_configurations_differ_by_dotted_keys() -> None:
    one = {"seed": 0, "space": {"knobs": {"a": 1, "b": [1]}}, "step_labels": {"x": 1}}
    other = {"seed": 0, "space": {"knobs": {"a": 2, "b": [1]}}}
    assert differing([one, other]) == {"space.knobs.a": [1, 2]}
