"""The commands `studies ...`, `show`, `enqueue` and `retry` as users meet them."""

import csv
import io
from pathlib import Path

import pytest
import toy_trials
from commands import Said

from paredown.evaluators.metrics.measurement import Measurement
from paredown.search.budget import Budget
from paredown.search.listener import SILENT
from paredown.search.run import search
from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.sampler import Problem
from paredown.search.trial_queue import TrialQueue
from paredown.studies.result import CAUSE, TrialResult
from paredown.studies.study import Study

LIMIT = 40_000


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/toy.db"


def filled(folder: Path, trials: int = 5, name: str = "toy", seed: int = 0, *, files: bool = False) -> Study:
    """Return a study in which each third trial failed and large networks break a limit; its trials may have files."""
    setup = toy_trials.toy_setup(folder, study=name, sampler="random", seed=seed, limits={"size_bytes": LIMIT})
    study = Study.create(url(folder), name, setup.stored, setup.plan.objectives, str(setup.plan.folder))
    study.use(SAMPLERS["random"](Problem(seed, trials)))
    queue = TrialQueue(study, setup.space, Budget(trials), SILENT)
    for at in range(trials):
        asked = queue.next()
        assert asked is not None
        good = toy_trials.good(asked.candidate, setup.plan if files else None, lambda epoch, metrics: "")
        lost = TrialResult("failed", "it took too long\nand more", facts={CAUSE: "timeout"})
        queue.tell(asked.number, lost if at % 3 == 2 else good)
    study.leave()
    return study


def test_show_pages_narrows_and_sorts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = filled(tmp_path, 9)
    where = ("--storage", url(tmp_path))

    def numbers(*options: str) -> list[int]:
        lines = Said(capsys, "show", "toy", *options, *where).out.splitlines()[2:]  # below the limits and the names
        return [int(line.split()[0]) for line in lines]

    assert numbers() == list(range(9))
    first = Said(capsys, "show", "toy", "--rows", "4", *where)
    assert "rows 6-9 of 9; --page 2 shows more" in first.err
    assert [numbers("--rows", "4", "--page", str(page)) for page in (1, 2, 3)] == [[5, 6, 7, 8], [1, 2, 3, 4], [0]]
    assert numbers("--last", "2") == [7, 8]
    assert numbers("--state", "failed") == [2, 5, 8]
    by_size = sorted(study.models(), key=lambda model: (model["size_bytes"], model.trial))
    assert numbers("--sort", "size_bytes") == [model.trial for model in by_size]
    by_accuracy = sorted(study.models(), key=lambda model: (-model["accuracy"], model.trial))
    assert numbers("--sort", "accuracy", "--rows", "2", "--page", "2") == [m.trial for m in by_accuracy[2:4]]
    document = Said(capsys, "show", "toy", "--json", *where).document()
    assert [row["number"] for row in document["trials"]] == list(range(9))
    document = Said(capsys, "show", "toy", "--json", "--last", "3", *where).document()
    assert [row["number"] for row in document["trials"]] == [6, 7, 8]
    assert document["page"] == {"first": 7, "total": 9, "number": 1, "pages": 3}


def test_show_names_the_limit_that_a_model_breaks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = filled(tmp_path)
    where = ("--storage", url(tmp_path))
    baseline = study.baseline()
    assert baseline is not None
    size = baseline["size_bytes"]
    assert size > LIMIT
    limits, _, *lines = Said(capsys, "show", "toy", "--state", "infeasible", *where).out.splitlines()
    assert limits.startswith("limits  size_bytes <= ")
    assert lines[0].startswith("0      done (infeasible)")
    assert f"size_bytes {size:g} bytes is above the limit {LIMIT}" in lines[0].replace(" B ", " bytes ")
    trial = Said(capsys, "show", "toy", "--json", *where).document()["trials"][0]
    assert trial["broken_limits"] == [{"metric": "size_bytes", "value": size, "limit": LIMIT}]


def test_show_tells_of_late_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = filled(tmp_path, 2)
    setup = toy_trials.toy_setup(tmp_path, limits={"size_bytes": LIMIT})
    slow = study.ask(setup.space.sample)
    assert slow is not None
    study.runner.release()  # as if it had been dead for the time of its lease
    other = Study.open(url(tmp_path), "toy", lambda stored: setup.plan.objectives)
    taken = other.ask(setup.space.sample)
    assert taken == slow
    measured = {name: Measurement(name, value) for name, value in toy_trials.values(slow.candidate).items()}
    assert study.tell(slow.number, TrialResult("done", "", measured, "trials/toy")) is None
    said = Said(capsys, "show", "toy", "--storage", url(tmp_path)).out
    assert f"late: trial {slow.number}, attempt 1 (done) came after another search had taken the trial over" in said
    late = Said(capsys, "show", "toy", "--json", "--storage", url(tmp_path)).document()["late"]
    assert [(one["number"], one["attempt"], one["result"]["outcome"]) for one in late] == [(slow.number, 1, "done")]
    other.leave()


def test_csv_holds_all_trials(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = filled(tmp_path)
    where = ("--storage", url(tmp_path))
    said = Said(capsys, "studies", "export", "toy", "--csv", str(tmp_path / "all.csv"), *where)
    assert said.out.endswith("all.csv (5 trials)\n")
    with (tmp_path / "all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["done", "done", "failed", "done", "done"]
    for row, model in zip([row for row in rows if row["state"] == "done"], study.models(), strict=True):
        assert (int(row["trial"]), row["feasible"]) == (model.trial, str(model.feasible))
        assert float(row["accuracy"]) == model["accuracy"]
        assert float(row["mbconv.width"]) == model.candidate.knobs["width"]
    baseline = rows[0]
    assert (float(baseline["size_bytes_delta"]), baseline["on_front"]) == (0.0, "False")
    assert "is above the limit" in baseline["broken_limits"]
    failed = rows[2]
    assert (failed["cause"], failed["reason"], failed["accuracy"]) == ("timeout", "it took too long\nand more", "")
    assert failed["started_at"].startswith("20")
    assert list(csv.reader(io.StringIO(Said(capsys, "studies", "export", "toy", "--csv", "-", *where).out)))[1:]
    refused = Said(capsys, "studies", "export", "toy", "--csv", str(tmp_path), *where)
    assert (refused.code, "Is a directory" in refused.err) == (2, True)


def test_studies_are_compared_renamed_copied_and_deleted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filled(tmp_path, 3)
    filled(tmp_path, 2, "other", seed=1)
    where = ("--storage", url(tmp_path))
    table = Said(capsys, "studies", "compare", "toy", "other", *where).out
    assert "2 done, 1 failed" in table
    assert "reference: the baseline of 'toy'" in table
    assert [line.split() for line in table.splitlines() if line.startswith("seed")] == [["seed", "0", "1"]]
    document = Said(capsys, "studies", "compare", "toy", "other", "--json", *where).document()
    assert document["differences"]["seed"] == [0, 1]
    assert Said(capsys, "studies", "compare", "toy", *where).code == 2

    assert "is now 'new'" in Said(capsys, "studies", "rename", "toy", "new", *where).out
    copied = Said(capsys, "studies", "copy", "new", "twin", "--to", f"sqlite:///{tmp_path}/b.db", *where).out
    assert copied == "study 'twin' is a copy of 'new': 3 trials, no files: those of the study are gone\n"
    refused = Said(capsys, "studies", "delete", "new", *where)
    assert (refused.code, "needs --yes where nobody can be asked" in refused.err) == (2, True)
    refused = Said(capsys, "studies", "delete", "new", "--keep-models", "--yes", *where)
    assert (refused.code, "--keep-models: only with --artifacts" in refused.err) == (2, True)
    assert "deleted study 'new' (2 done, 1 failed)" in Said(capsys, "studies", "delete", "new", "--yes", *where).out
    assert "did you mean 'other'" in Said(capsys, "studies", "delete", "othr", "--yes", *where).err
    assert [one["study"] for one in Said(capsys, "studies", "--json", *where).document()["studies"]] == ["other"]
    misplaced = Said(capsys, "studies", *where, "delete", "other", "--yes")
    assert (misplaced.code, "--storage stands behind the command" in misplaced.err) == (2, True)


class Terminal(io.StringIO):
    """A person at a terminal who types an answer."""

    def isatty(self) -> bool:
        return True


def test_a_person_is_asked_before_a_study_is_deleted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = filled(tmp_path, 3)
    where = ("--storage", url(tmp_path))
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    said = Said(capsys, "studies", "delete", "toy", *where)
    assert (said.code, said.err.count("Delete study 'toy' (2 done, 1 failed)? [y/N]")) == (3, 1)
    assert "study 'toy' was not deleted" in said.err
    assert study.counts() == {"done": 2, "failed": 1}
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert Said(capsys, "studies", "delete", "toy", *where).code == 0
    assert Said(capsys, "studies", "--json", *where).document() == {"studies": []}


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        (["mbconv.with=1"], "mbconv.with: no such knob in the space of this study; did you mean mbconv.width"),
        (["zzz=1"], "zzz: no such knob in the space of this study; allowed: family, mbconv."),
        (["mbconv.kernel=7"], "mbconv.kernel: '7' is not allowed; allowed in this study: one of 3, 5"),
        (["mbconv.resolution=16"], "mbconv.resolution: 16 is not allowed; allowed in this study: 8 to 8"),
        (["mbconv.width"], "'mbconv.width' is not of the form KNOB=VALUE"),
        (["mbconv.kernel=3", "mbconv.kernel=5"], "mbconv.kernel is named twice"),
        (["quantization.early=fp32"], "quantization.early: "),
        (["quantization.aware=false"], "counts only where quantization.weights is not fp32"),
        (["mbconv.phi=0"], "mbconv.phi: counts only with mbconv.scaling=compound"),
        ([], "say which candidate: KNOB=VALUE, or --like N"),
        (["--like", "99"], "--like 99: study 'toy' has no such trial; its trials are 0 to 1"),
    ],
)
def test_a_candidate_that_cannot_be_is_not_queued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], knobs: list[str], message: str
) -> None:
    study = filled(tmp_path, 2)
    said = Said(capsys, "enqueue", "toy", *knobs, "--storage", url(tmp_path))
    assert said.code == 2
    assert message in said.err
    assert study.line() == []


def test_what_is_queued_and_retried_runs_first_in_a_study_that_is_extended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = filled(tmp_path, 3, files=True)
    where = ("--storage", url(tmp_path))
    said = Said(capsys, "enqueue", "toy", "mbconv.width=0.75", "mbconv.kernel=5", "quantization.weights=int8", *where)
    assert said.out.startswith("trial 3 is in line: mbconv(")
    known = Said(capsys, "enqueue", "toy", "--like", "1", *where).out
    assert known == "nothing to do: this is trial 1 of 'toy', which is done\n"
    failed = Said(capsys, "enqueue", "toy", "--like", "2", *where).out
    assert "which is failed; `paredown retry toy --trial 2` runs it again" in failed
    document = Said(capsys, "enqueue", "toy", "--like", "1", "mbconv.width=1.25", "--json", *where).document()
    assert (document["trial"], document["state"]) == (4, "queued")
    nothing = Said(capsys, "retry", "toy", "--cause", "killed", *where).out
    assert nothing == "nothing to do: no trial has failed with the cause killed in study 'toy'\n"
    again = Said(capsys, "retry", "toy", "--cause", "timeout", *where).out
    assert again.startswith("1 failed trial is in line; ")
    assert "trial 2 runs again as trial 5" in again
    assert Said(capsys, "retry", "toy", *where).out == "nothing to do: no trial has failed in study 'toy'\n"
    assert "in line: trial 3, trial 4, trial 5" in Said(capsys, "show", "toy", *where).out

    spent = toy_trials.toy_setup(tmp_path, sampler="random", trials=2, limits={"size_bytes": LIMIT})
    assert search(spent, url(tmp_path), run=toy_trials.good).reason == "2 trials are done"
    assert study.line() == [3, 4, 5], "a spent budget leaves them in line"
    extended = toy_trials.toy_setup(tmp_path, sampler="random", trials=6, limits={"size_bytes": LIMIT})
    ended = search(extended, url(tmp_path), run=toy_trials.good)
    assert (ended.reason, ended.interrupted) == ("6 trials are done", False)
    rows = study.rows()
    assert [row["number"] for row in rows] == [*range(6), *(row["number"] for row in rows[6:])]
    assert [row["state"] for row in rows[:6]] == ["done", "done", "retried", "done", "done", "done"]
    assert (rows[3]["candidate"]["knobs"]["width"], rows[3]["candidate"]["knobs"]["kernel"]) == (0.75, 5)
    assert rows[5]["candidate"] == rows[2]["candidate"]
    assert study.line() == []
    shown = Said(capsys, "show", "toy", *where).out
    assert "retried as 5" in shown
    assert "trial 2 once more" in shown
