"""Keys that were renamed: the earlier names still work, with one remark each, also for studies that are stored."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import toy_trials
import yaml

from paredown.evaluators.training.fit import TrainingPlan
from paredown.search.errors import ConfigError
from paredown.search.run import search
from paredown.search.study_file.schema import StudyConfig, checked_config, read_config
from paredown.search.study_file.sections import TrainingSection
from paredown.search.study_file.setup import set_up

BASIC = {"study": "s", "task": "digits", "objectives": ["accuracy", "size_bytes"]}
EARLIER = {"polish": 2, "max_stall": 9, "halving": {"first": 1}, "training": {"cache": "1MB", "epochs": 3}}
TODAY = {
    "local_search_trials": 2,
    "patience_trials": 9,
    "halving": {"min_epochs": 1},
    "training": {"cache_size": "1MB", "epochs": 3},
}


def test_the_earlier_names_mean_the_same_and_are_remarked_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read = {}
    for name, keys in (("earlier", EARLIER), ("today", TODAY)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(BASIC | keys))
        read[name] = read_config(tmp_path / f"{name}.yaml", {})
        out, err = capsys.readouterr()
        assert out == ""
        if name == "today":
            assert err == ""
        else:
            file = tmp_path / "earlier.yaml"
            assert sorted(err.splitlines()) == [
                f"{file}: halving.first is called halving.min_epochs today; the earlier name still works",
                f"{file}: max_stall is called patience_trials today; the earlier name still works",
                f"{file}: polish is called local_search_trials today; the earlier name still works",
                f"{file}: training.cache is called training.cache_size today; the earlier name still works",
            ]
    assert read["earlier"].model_dump() == read["today"].model_dump()
    assert (read["today"].local_search_trials, read["today"].training.cache_size) == (2, 1e6)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"polish": 1, "local_search_trials": 1}, "polish: is the earlier name of local_search_trials, which is given"),
        ({"max_stall": 1, "patience_trials": 2}, "max_stall: is the earlier name of patience_trials, which is given"),
        ({"halving": {"first": 1, "min_epochs": 1}}, "halving.first: is the earlier name of min_epochs, which is"),
        ({"training": {"cache": 0, "cache_size": 0}}, "training.cache: is the earlier name of cache_size, which is"),
        ({"polish": 40}, "polish: 40 is not allowed; allowed: 0 to 39"),
        ({"max_stall": 0}, "max_stall: Input should be greater than or equal to 1 (got 0)"),
        ({"halving": {"first": 0}}, "halving.first: Input should be greater than or equal to 1 (got 0)"),
        ({"training": {"cache": "much"}}, "training.cache: 'much' is not a size such as 500MB"),
        ({"halving": {}}, "halving.min_epochs: Field required"),
    ],
)
def test_what_is_wrong_names_the_key_that_was_written(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        checked_config(BASIC | keys, "study.yaml", {})
    assert str(refused.value).startswith(f"study.yaml: {said}")


def test_contradictions_name_the_key_that_was_written(tmp_path: Path) -> None:
    for key in ("first", "min_epochs"):
        config = StudyConfig.model_validate(BASIC | {"halving": {key: 20}})
        with pytest.raises(ConfigError, match=rf"^s\.yaml: halving\.{key}: 20 is not below training\.epochs \(20\)"):
            set_up(config, "s.yaml", tmp_path, tmp_path)


@pytest.mark.parametrize(("before", "after"), [(EARLIER, TODAY), (TODAY, EARLIER)], ids=["to_today", "to_earlier"])
def test_a_stored_study_goes_on_under_the_other_names(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any]
) -> None:
    for trials, keys in ((3, before), (4, after)):
        setup = toy_trials.toy_setup(tmp_path, trials=trials, sampler="random", **keys)
        summary = search(setup, f"sqlite:///{tmp_path}/s.db", where="toy.yaml", run=toy_trials.good)
        assert summary.reason == f"{trials} trials are done"
        stored = summary.study.config
    names = {"polish", "max_stall", "local_search_trials", "patience_trials", "halving", "cache", "cache_size"}
    assert not names & (set(stored) | set(stored["training"])), "they may change between the runs of a study"


def test_the_section_and_the_plan_have_one_set_of_keys_and_defaults() -> None:
    assert TrainingSection().plan(seed=0) == TrainingPlan(batch_from_network=True)
    assert TrainingSection(batch_size=TrainingPlan().batch_size).plan(seed=0) == TrainingPlan()
    keys = {"cache_size" if field.name == "cache_bytes" else field.name for field in fields(TrainingPlan)}
    assert set(TrainingSection.model_fields) == keys - {"seed", "batch_from_network"}, "the seed is a key of the study"
    for written in ("off", False, 0):
        assert TrainingSection.model_validate({"cache_size": written}).plan(seed=3) == TrainingPlan(
            cache_bytes=0, seed=3, batch_from_network=True
        )
