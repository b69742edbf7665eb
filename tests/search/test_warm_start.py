"""A study that starts from earlier ones: what it asks first, what it stores, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import toy_trials
from pydantic import ValidationError
from typer.testing import CliRunner

from paredown.search.cli.app import app
from paredown.search.errors import ConfigError
from paredown.search.listener import ProgressListener
from paredown.search.places import begun_study
from paredown.search.run import search
from paredown.search.study_file.objectives import stored_objectives
from paredown.search.study_file.schema import StudyConfig
from paredown.search.warm_start import read_warm_start
from paredown.studies.errors import StudyError
from paredown.studies.front import Model, front, losses
from paredown.studies.housekeeping.deleting import delete_study
from paredown.studies.study import Study

SISTER_TRIALS = 10


class Remarks(ProgressListener):
    """Keeps the remarks."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def remark(self, text: str) -> None:
        self.said.append(text)


def searched(folder: Path, name: str, listener: ProgressListener | None = None, **keys: Any) -> Study:
    """Return a study of toy trials in a folder of its own, in the database of them all."""
    setup = toy_trials.toy_setup(folder / name, study=name, **keys)
    return search(setup, address(folder), listener=listener or Remarks(), where="b.yaml", run=toy_trials.good).study


def address(folder: Path) -> str:
    return f"sqlite:///{folder}/studies.db"


def in_order(study: Study) -> list[Model]:
    return sorted(study.models(), key=lambda model: model.trial)


@pytest.fixture
def sister(tmp_path: Path) -> Study:
    return searched(tmp_path, "a", trials=SISTER_TRIALS, seed=3)


def test_the_best_networks_of_a_sister_are_asked_after_the_baseline(tmp_path: Path, sister: Study) -> None:
    listener = Remarks()
    study = searched(tmp_path, "b", listener, warm_start=["a"], trials=6)
    best = [m.candidate for m in front(sister.models(), sister.optimised_metrics)]
    asked = [model.candidate for model in in_order(study)]
    assert asked[0] == study.baseline_candidate
    (stored,) = study.config["warm_start"]
    count = stored["asked_first"]
    assert 1 <= count <= 3
    assert set(asked[1 : 1 + count]) <= set(best)
    assert not set(asked[1 + count :]) & set(asked[: 1 + count]), "no network is trained twice"
    expected = {"study": "a", "made_at": sister.made_at, "trials": SISTER_TRIALS}
    assert stored == expected | {"networks": SISTER_TRIALS, "used": SISTER_TRIALS, "asked_first": count}
    assert [said for said in listener.said if "of the 10 networks of study 'a'" in said]


@pytest.mark.parametrize("limit", ["none", 5_000])
def test_the_network_that_brings_most_hypervolume_is_asked_first(tmp_path: Path, limit: str | int) -> None:
    sister = searched(tmp_path, "a", trials=SISTER_TRIALS, seed=3, limits={"size_bytes": limit, "accuracy": "none"})
    setup = toy_trials.toy_setup(tmp_path / "b", study="b", warm_start=["a"], limits={"accuracy": "none"})
    warm = read_warm_start(setup, address(tmp_path), None, "b.yaml")
    points = losses(sister.models(), sister.optimised_metrics)
    brought = (points.max(0) - points).prod(1)
    best = [model.candidate.digest for model in sister.models() if model.candidate != sister.baseline_candidate]
    brought = brought[[model.candidate != sister.baseline_candidate for model in sister.models()]]
    assert setup.space.candidate(warm.first[0]).digest == best[int(brought.argmax())]


@pytest.mark.parametrize("sampler", ["tpe", "random", "evolution"])
def test_other_samplers_begin_with_the_same_networks(tmp_path: Path, sister: Study, sampler: str) -> None:
    study = searched(tmp_path, "b", warm_start=["a"], trials=4, sampler=sampler)
    best = {m.candidate.digest for m in front(sister.models(), sister.optimised_metrics)}
    assert in_order(study)[1].candidate.digest in best


def test_only_networks_of_this_space_inside_its_limits_are_used(tmp_path: Path, sister: Study) -> None:
    knobs = toy_trials.KNOBS | {"mbconv.width": {"low": 0.5, "high": 1.0}}
    limit = sorted(model["size_bytes"] for model in sister.models())[SISTER_TRIALS // 2]
    keys = {"space": {"knobs": knobs, "steps": ["quantization"]}, "limits": {"size_bytes": limit, "accuracy": "none"}}
    setup = toy_trials.toy_setup(tmp_path / "b", study="b", warm_start=["a"], **keys)
    warm = read_warm_start(setup, address(tmp_path), None, "b.yaml")
    narrow = [model for model in sister.models() if model.candidate.knobs["width"] <= 1.0]
    (stored,) = warm.stored
    assert 0 < len(narrow) < SISTER_TRIALS
    assert (stored["used"], stored["networks"]) == (len(narrow), SISTER_TRIALS)
    assert f"warm_start: {len(narrow)} of the {SISTER_TRIALS} networks" in warm.remarks[0]
    (one,) = warm.sisters
    assert len(one.params) == len(one.losses) == len(one.costs) == len(narrow)
    known = {model.candidate.digest: model for model in narrow}
    first = [known[setup.space.candidate(values).digest] for values in warm.first]
    assert all(model["size_bytes"] <= limit for model in first)


def test_a_study_goes_on_with_its_sister_as_it_was(tmp_path: Path, sister: Study) -> None:
    begun = searched(tmp_path, "b", warm_start=["a"], trials=4)
    stored, asked = begun.config["warm_start"], [model.candidate for model in in_order(begun)]
    grown = searched(tmp_path, "a", trials=SISTER_TRIALS + 4, seed=3)
    listener = Remarks()
    study = searched(tmp_path, "b", listener, warm_start=["a"], trials=6)
    assert len(grown.models()) == SISTER_TRIALS + 4
    assert study.config["warm_start"] == stored
    assert len(study.models()) == 6
    assert [m.candidate for m in in_order(study)[:4]] == asked
    setup = toy_trials.toy_setup(tmp_path / "b", study="b", warm_start=["a"], trials=6)
    warm = read_warm_start(setup, address(tmp_path), begun_study(address(tmp_path), "b"), "b.yaml")
    assert len(warm.sisters[0].params) == SISTER_TRIALS
    assert not [said for said in listener.said if "warm_start" in said]


def test_a_study_goes_on_without_a_sister_that_is_gone(tmp_path: Path, sister: Study) -> None:
    searched(tmp_path, "b", warm_start=["a"], trials=4)
    delete_study(address(tmp_path), "a", artifacts=True, keep_models=False, confirmed=lambda _: True)
    listener = Remarks()
    study = searched(tmp_path, "b", listener, warm_start=["a"], trials=6)
    assert len(study.models()) == 6
    assert "warm_start: study 'a' is gone or was made anew; this study goes on without it" in listener.said
    assert study.config["warm_start"][0]["study"] == "a"


def test_an_unknown_study_is_refused_before_anything_is_stored(tmp_path: Path, sister: Study) -> None:
    with pytest.raises(ConfigError, match=r"b\.yaml: warm_start: no study 'aa' in .*; studies there: a; did you mean"):
        searched(tmp_path, "b", warm_start=["aa"], trials=4)
    assert begun_study(address(tmp_path), "b") is None
    assert not (tmp_path / "b" / "out").exists()


def test_a_database_that_is_not_there_is_refused_and_not_made(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(ConfigError, match=r"b\.yaml: warm_start: .*there is no file"):
        searched(tmp_path, "b", warm_start=["a"], trials=4)
    assert not (tmp_path / "studies.db").exists()


def test_a_study_that_began_cold_cannot_become_warm(tmp_path: Path, sister: Study) -> None:
    searched(tmp_path, "b", trials=4)
    with pytest.raises(StudyError, match="study 'b' exists with another warm_start"):
        searched(tmp_path, "b", warm_start=["a"], trials=6)
    assert "warm_start" not in Study.open(address(tmp_path), "b", stored_objectives).config


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["b"], "'b' is this study itself"),
        (["a", "a"], "'a' is named twice"),
        ("a", "should be a valid list"),
        (["a b"], "should match pattern"),
    ],
)
def test_bad_names_give_a_message(names: Any, said: str) -> None:
    data = {"study": "b", "task": "digits", "objectives": ["accuracy", "size_bytes"], "warm_start": names}
    with pytest.raises(ValidationError, match=said):
        StudyConfig.model_validate(data)


def test_show_names_the_sister(tmp_path: Path, sister: Study) -> None:
    study = searched(tmp_path, "b", warm_start=["a"], trials=4)
    shown = CliRunner().invoke(app, ["show", "b", "--storage", address(tmp_path)])
    count = study.config["warm_start"][0]["asked_first"]
    assert f"warm start  a: 10 of its 10 networks, {count} asked first" in shown.stdout, shown.stderr
