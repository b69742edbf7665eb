"""A study belongs to its database: where its data and outputs are when it goes on elsewhere, and what is refused."""

import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
import toy_trials
from commands import Said
from database_contents import contents
from third_driver import IN_TURN

from paredown.evaluators.metrics.measurement import Measurement
from paredown.evaluators.tasks.spec import stored_task
from paredown.search.api.storage import stored_study
from paredown.search.drivers.catalogue import DRIVERS
from paredown.search.errors import ConfigError, SearchAborted
from paredown.search.places import begun_study, check_outputs, find_data, outputs_folder
from paredown.search.run import SearchSummary, search
from paredown.search.study_file.schema import StudyConfig, checked_config
from paredown.search.study_file.setup import set_up
from paredown.search.study_file.stored import as_begun
from paredown.studies.errors import StudyError
from paredown.studies.outputs import MARK_FILE, NEEDED
from paredown.studies.result import TrialResult
from paredown.studies.study import Study


@pytest.fixture(autouse=True)
def _in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DRIVERS, IN_TURN.name, IN_TURN)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data, in which a search is run."""
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    toy_trials.write_arrays(folder / "data/few.npz")
    monkeypatch.chdir(folder)
    return folder


def config(path: str = "data/few.npz", **keys: Any) -> StudyConfig:
    study = {
        "study": "toy",
        "task": {"arrays": {"path": path}} if path else "digits",
        "objectives": ["accuracy", "size_bytes"],
        "space": {"knobs": toy_trials.KNOBS, "steps": ["quantization"]},
        "sampler": "random",
        "workers": 1,
        "driver": IN_TURN.name,
    }
    return checked_config(study | keys, "toy.yaml", {})


def run(
    url: str, trials: int, folder: str | Path = ".", out: str | None = None, trial: Any = None, **keys: Any
) -> SearchSummary:
    """Search as `run_study` does, with trials that cost nothing."""
    asked, folder = config(trials=trials, **keys), Path(folder)
    begun = begun_study(url, asked.study)
    asked, folder = find_data(as_begun(asked, begun), "toy.yaml", folder, begun, url)
    outputs = outputs_folder(begun, asked.study, url, None if out is None else Path(out))
    return search(set_up(asked, "toy.yaml", folder, outputs), url, where="toy.yaml", run=trial or distinct)


def distinct(candidate: Any, plan: Any, on_epoch: Any) -> Any:
    """A trial with files of its own."""
    result = toy_trials.good(candidate, plan, on_epoch)
    folder = Path(plan.folder, "trials", candidate.digest[:16])
    folder.mkdir(parents=True, exist_ok=True)
    for name in NEEDED:
        (folder / name).write_text(candidate.digest)
    return toy_trials.replace(result, artifact=f"trials/{candidate.digest[:16]}")


def folder_of(study: Study) -> Path:
    return Path(stored_study(str(study._storage.engine.url), study.name).folder)


def test_the_same_study_goes_on_from_another_folder_and_under_another_spelling(
    database: str, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = f"toy-{tmp_path.name}"
    first = run(database, 3, study=name)
    known = folder_of(first.study)
    assert known == project / "paredown-out" / name
    monkeypatch.chdir(tmp_path)
    again = run(database, 4, "project", path="../project/data/few.npz", study=name)
    assert again.study.counts()["done"] == 4
    assert folder_of(again.study) == known
    assert not (tmp_path / "paredown-out").exists()


def test_built_in_data_have_no_folder(project: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{project}/toy.db"
    run(url, 2, path="")
    assert run(url, 3, tmp_path, path="").study.counts()["done"] == 3


def test_a_moved_project_goes_on_in_its_new_place(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("sqlite:///toy.db", 3)
    moved = tmp_path / "elsewhere"
    project.rename(moved)
    monkeypatch.chdir(moved)
    ended = run("sqlite:///toy.db", 4)
    assert ended.study.counts()["done"] == 4
    assert folder_of(ended.study) == moved / "paredown-out/toy"
    assert not project.exists()


def test_a_moved_project_is_found_from_outside_beside_its_database(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("sqlite:///toy.db", 3)
    project.rename(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    ended = run("sqlite:///elsewhere/toy.db", 4, "elsewhere")
    assert folder_of(ended.study) == tmp_path / "elsewhere/paredown-out/toy"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere"]


def test_a_study_whose_outputs_are_gone_is_refused_with_the_command_that_mends_it(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{project}/toy.db"
    study = run(url, 3).study
    shutil.move("paredown-out/toy", "kept")
    with pytest.raises(StudyError) as refused:
        run(url, 4)
    (command,) = [part for part in str(refused.value).split(";") if "say where they are" in part]
    assert f"paredown adopt toy --out DIR --storage {url}" in command
    assert study.counts() == {"done": 3}
    assert not Path("paredown-out/toy").exists()
    adopted = Said(capsys, *command.replace("DIR", "kept").split("paredown ")[1].split())
    assert adopted.code == 0, adopted.err
    assert run(url, 4).study.counts()["done"] == 4
    assert len(list(Path("kept/trials").iterdir())) == 5, "the shared one, too"


def test_lost_files_are_made_again_under_their_numbers(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{project}/toy.db"
    study = run(url, 4).study
    before = study.models()
    shutil.rmtree("paredown-out")
    where = ("--out", "paredown-out/toy", "--storage", url)
    refused = Said(capsys, "adopt", "toy", *where)
    assert refused.code == 2
    assert "--rerun" in refused.err
    shown = Said(capsys, "adopt", "toy", *where, "--rerun", "--dry-run", "--json").document()
    assert (shown["trials"]["rerun"], study.counts()) == ([m.trial for m in before], {"done": 4})
    assert Said(capsys, "adopt", "toy", *where, "--rerun").code == 0
    assert study.counts() == {"waiting": 4}
    again = run(url, 4).study
    assert again.models() == before
    assert {row["attempt"] for row in again.rows()} == {2}
    assert [trial.state.name for trial in again._study.trials] == ["COMPLETE"] * 4


def test_single_lost_files_are_a_remark(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{project}/toy.db"
    study = run(url, 4).study
    lost = Path(study.folder, study.models()[2].artifact, NEEDED[0])
    lost.unlink()
    said = check_outputs(study, "toy", Path(study.folder), url)
    assert said.startswith(f"files of 1 trials are gone, such as {study.models()[2].artifact}")
    found = Said(capsys, "adopt", "toy", "--out", study.folder, "--storage", url)
    assert "3 of 4 trials" in found.out
    assert f"trial 2: {study.models()[2].artifact}/{NEEDED[0]}" in found.out
    Path(study.folder, study.baseline().artifact, NEEDED[0]).unlink()  # type: ignore[union-attr] # it is done
    with pytest.raises(StudyError, match="files of 2 of 4 finished trials"):
        run(url, 5)


def test_another_folder_for_outputs_is_refused_where_they_are_elsewhere(project: Path) -> None:
    url = f"sqlite:///{project}/toy.db"
    study = run(url, 2).study
    with pytest.raises(StudyError, match=r"has its outputs in .*/paredown-out/toy; --out .*/other has none of them"):
        run(url, 3, out="other")
    assert folder_of(study) == project / "paredown-out/toy"
    assert not Path("other").exists()


def test_a_new_study_does_not_write_over_the_models_of_another(project: Path) -> None:
    run("sqlite:///toy.db", 2)
    with pytest.raises(StudyError, match=r"holds the outputs of another study, 'toy' of .* in .*/toy.db; name another"):
        run("sqlite:///other.db", 2)
    Path("paredown-out/toy", MARK_FILE).unlink()  # as earlier versions left it
    with pytest.raises(StudyError, match="holds trials of an earlier study, whose models a new study 'toy' would"):
        run("sqlite:///other.db", 2)
    assert run("sqlite:///other.db", 2, out="other").study.counts() == {"done": 2}


def test_the_copy_of_a_database_gets_outputs_of_its_own(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("sqlite:///toy.db", 2)
    with sqlite3.connect("toy.db") as connection:
        connection.execute("VACUUM INTO 'copy.db'")
    connection.close()
    with pytest.raises(StudyError, match=r"belongs to study 'toy' of .*/toy.db, of which .*/copy.db holds a copy"):
        run("sqlite:///copy.db", 3)
    shutil.copytree("paredown-out/toy", "mine")
    assert Said(capsys, "adopt", "toy", "--out", "mine", "--storage", "sqlite:///copy.db").code == 0
    run("sqlite:///copy.db", 3)
    assert run("sqlite:///toy.db", 4).study.counts()["done"] == 4
    assert len(list(Path("mine/trials").iterdir())) == 4


def test_data_that_have_moved_are_adopted_and_other_data_refused(
    database: str, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, storage = f"toy-{tmp_path.name}", ("--storage", database)
    study = run(database, 2, study=name).study
    Path("data/few.npz").rename("few.npz")
    with pytest.raises(ConfigError, match=rf"there is no .*paredown adopt {name} --data PATH"):
        run(database, 3, study=name)
    toy_trials.write_arrays(Path("other.npz"), seed=1)
    refused = Said(capsys, "adopt", name, "--data", "other.npz", *storage)
    assert refused.code == 2
    digest, other = study.config["task"]["data"], refused.err.split("their digest is ")[1].split(",")[0]
    assert digest in refused.err
    assert digest != other
    adopted = Said(capsys, "adopt", name, "--data", "few.npz", "--json", *storage).document()
    assert adopted["data"] == {"place": str(project / "few.npz"), "digest": digest}
    assert run(database, 3, study=name).study.counts()["done"] == 3, "the study file still says the place of before"
    assert stored_task(stored_study(database, name).config).digest == digest


def test_data_that_have_changed_are_refused_with_both_digests(project: Path) -> None:
    url = f"sqlite:///{project}/toy.db"
    before = run(url, 2).study.config["task"]["data"]
    toy_trials.write_arrays(Path("data/new.npz"), seed=1)
    with pytest.raises(StudyError, match=rf"data of the digest {before}; that of the data at .*new.npz is [0-9a-f]"):
        run(url, 3, path="data/new.npz")


def test_adopting_needs_something_to_adopt_and_no_live_search(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{project}/toy.db"
    study = run(url, 2, path="").study
    storage = ("--storage", url)
    assert "say what has moved" in Said(capsys, "adopt", "toy", *storage).err
    assert "--rerun: only with --out" in Said(capsys, "adopt", "toy", "--data", "x", "--rerun", *storage).err
    assert "data of the task digits are built in" in Said(capsys, "adopt", "toy", "--data", "x", *storage).err
    with study.runner.alive():
        assert "a search of study 'toy' is alive" in Said(capsys, "adopt", "toy", "--out", study.folder, *storage).err
    study.leave()
    assert Said(capsys, "adopt", "toy", "--out", study.folder, *storage).code == 0


def test_what_broke_the_baseline_is_mended_in_the_same_study(database: str, project: Path, tmp_path: Path) -> None:
    name = f"toy-{tmp_path.name}"
    with pytest.raises(SearchAborted, match="no disk"):
        run(database, 3, trial=toy_trials.all_but_the_baseline, study=name, training={"batch_size": 4096})
    mended = run(database, 3, study=name, training={"batch_size": 32}).study
    assert (mended.counts(), mended.config["training"]["batch_size"]) == ({"failed": 1, "done": 2}, 32)
    with pytest.raises(StudyError, match="exists with another training"):
        run(database, 4, study=name, training={"batch_size": 4096})


def test_a_report_does_not_make_a_folder_of_before_anew(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{project}/toy.db"
    run(url, 3)
    shutil.move("paredown-out", "kept")
    said = Said(capsys, "report", "toy", "--storage", url)
    assert said.code == 2
    assert f"paredown adopt toy --out DIR --storage {url}" in said.err
    assert not Path("paredown-out").exists()
    assert Said(capsys, "report", "toy", "--storage", url, "--out", "page.html").code == 0
    assert Path("page.html").is_file()
    Said(capsys, "adopt", "toy", "--out", "kept/toy", "--storage", url)
    assert Said(capsys, "report", "toy", "--storage", url).code == 0
    assert Path("kept/toy/report.html").is_file()


@pytest.mark.parametrize("form", ["sqlite:///{}?mode=ro", "sqlite:///file:{}?mode=ro&uri=true"])
def test_a_study_is_looked_at_through_a_database_that_may_not_be_written(
    project: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    run("sqlite:///toy.db", 3)
    before = contents(Path("toy.db"))
    storage = ("--storage", form.format("toy.db"))
    for command in (["front"], ["show"], ["select", "--max", "size_bytes=1G"], ["status"], ["report", "-o", "r.html"]):
        said = Said(capsys, command[0], "toy", *command[1:], *storage)
        assert (said.code, said.err) == (0, ""), said.err
        assert "toy" in said.out or "trial" in said.out or "r.html" in said.out
    assert "3 done" in Said(capsys, "studies", *storage).out
    for command in (["search"], ["adopt", "toy", "--out", "paredown-out/toy"]):
        said = Said(capsys, *command, *storage)
        assert said.code == 2
        assert said.err.count("can only be looked at") == 1
        assert "Traceback" not in said.err
    assert contents(Path("toy.db")) == before


def test_a_network_of_the_user_moves_with_its_project(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = "import torch\n\ndef make():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))\n"
    Path("net_that_moves.py").write_text(module)
    keys = {"model": "net_that_moves:make", "space": {"knobs": {"imported.resolution": 8}, "steps": ["quantization"]}}

    def values(candidate: Any, plan: Any, on_epoch: Any) -> TrialResult:
        share = int(candidate.digest[:4], 16) / 2**16
        measured = dict.fromkeys(("latency_ms", "macs", "params"), 1.0)
        measured |= {"accuracy": share, "size_bytes": 1000 * (1 + share)}
        return TrialResult("done", "", {n: Measurement(n, v) for n, v in measured.items()}, toy_trials.kept(plan))

    def forget() -> None:
        sys.modules.pop("net_that_moves", None)
        sys.path[:] = [entry for entry in sys.path if not entry.startswith(str(tmp_path))]

    url = f"sqlite:///{tmp_path}/toy.db"
    before = run(url, 3, project, trial=values, **keys).study
    forget()
    project.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    again = run(url, 4, tmp_path / "moved", trial=values, **keys).study
    forget()
    models = again.models()
    assert [m.measurements for m in models[:3]] == [m.measurements for m in before.models()[:3]]
    assert {m.candidate.knobs["folder"] for m in models} == {str(tmp_path / "moved")}
    assert again.baseline() == models[0]
    assert again.counts()["done"] == 4
    Path("net_that_moves.py").rename(tmp_path / "net_that_moves.py")
    adopted = Said(capsys, "adopt", "toy", "--modules", str(tmp_path), "--storage", url)
    assert adopted.code == 0, adopted.err
    forget()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/net_that_moves.py").write_text(module + "# changed\n")
    refused = Said(capsys, "adopt", "toy", "--modules", str(tmp_path / "other"), "--storage", url)
    forget()
    assert refused.code == 2
    assert "is another network: its digest is" in refused.err
    assert stored_study(url, "toy").baseline_candidate.knobs["folder"] == str(tmp_path)
