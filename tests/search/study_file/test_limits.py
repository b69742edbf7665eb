"""Limits as people write them, and which study gets a default one."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import toy_trials

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.limit import BaselineLimit
from paredown.evaluators.metrics.measurement import Objective, broken_limits
from paredown.search.api.limits import limits_of
from paredown.search.errors import ConfigError
from paredown.search.study_file.json_schema import study_schema
from paredown.search.study_file.limits import default_limits, read_limit
from paredown.search.study_file.objectives import read_objectives
from paredown.search.study_file.schema import StudyConfig, checked_config
from paredown.search.study_file.stored import with_default_limits
from paredown.search.study_file.yaml_text import loaded
from paredown.studies.front import Model
from paredown.studies.study import Study

NAMES = ["accuracy", "size_bytes"]
STUDY = {"study": "toy", "task": "digits", "objectives": NAMES}


@pytest.mark.parametrize(
    ("written", "limit", "of_baseline", "stored"),
    [
        (0.95, 0.95, None, 0.95),
        ("60k", 60_000.0, None, 60_000.0),
        ("baseline - 2 pt", BaselineLimit(points=-2), 0.88, "baseline - 2 pt"),
        (" baseline-2.5pt ", BaselineLimit(points=-2.5), 0.875, "baseline - 2.5 pt"),
        ("baseline + 1 pt", BaselineLimit(points=1), 0.91, "baseline + 1 pt"),
        ("0.5 x baseline", BaselineLimit(factor=0.5), 0.45, "0.5 x baseline"),
        (".5*baseline", BaselineLimit(factor=0.5), 0.45, "0.5 x baseline"),
        ("1000000 x baseline", BaselineLimit(factor=1e6), 9e5, "1000000 x baseline"),
        ("0.00001 x baseline", BaselineLimit(factor=1e-5), 9e-6, "0.00001 x baseline"),
        ("baseline - 0.00001 pt", BaselineLimit(points=-1e-5), 0.8999999, "baseline - 0.00001 pt"),
        ("baseline - 99.99999 pt", BaselineLimit(points=-99.99999), -0.0999999, "baseline - 99.99999 pt"),
        ("baseline", BaselineLimit(), 0.9, "baseline"),
        ("none", None, None, "none"),
        (None, None, None, "none"),
    ],
)
def test_what_is_written_is_read_and_stored_in_one_spelling(
    written: Any, limit: Any, of_baseline: float | None, stored: Any
) -> None:
    found = read_limit(written)
    assert found == limit
    if isinstance(found, BaselineLimit):
        assert found.of(0.9) == pytest.approx(of_baseline)
    config = StudyConfig.model_validate(STUDY | {"limits": {"accuracy": written}})
    assert config.limits == {"accuracy": stored}
    assert StudyConfig.model_validate(STUDY | {"limits": config.limits}).limits == config.limits
    jsonschema.validate({**STUDY, "limits": {"accuracy": written}}, study_schema())


@pytest.mark.parametrize("written", ["few", "baseline - 2 %", "baseline - 2", "2 x base", "x baseline", "", True, []])
def test_what_is_no_limit_is_refused_with_what_is(written: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        checked_config(STUDY | {"limits": {"accuracy": written}}, "s.yaml", {})
    begins = f"s.yaml: limits.accuracy: {written!r} is not a limit; allowed: a number such as 0.95, 60k or 1.5M; "
    assert str(refused.value).startswith(begins)
    assert "baseline - 2 pt" in str(refused.value)
    assert "none" in str(refused.value)


@pytest.mark.parametrize(
    ("metric", "written", "said"),
    [
        ("size_bytes", "baseline - 2 pt", "'baseline - 2 pt' is not allowed: points are of shares such as accuracy"),
        ("size_bytes", "0 x baseline", "'0 x baseline' is not allowed; allowed: a factor above 0"),
        ("size_bytes", f"{'9' * 320} x baseline", "is not allowed; allowed: a factor above 0"),
        ("accuracy", "baseline - 100 pt", "less than 100 pt"),
        ("accuracy", "some", "'some' is not a limit; allowed: a number such as 0.95"),
        ("accuracy", 1.5, "no candidate can meet 1.5; allowed: above 0, at most 1"),
    ],
)
def test_limits_that_a_metric_cannot_have_are_refused(metric: str, written: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"s.yaml: limits.{metric}: ") + ".*" + re.escape(said)):
        read_objectives(NAMES, {metric: written}, "s.yaml")


def test_limits_read_resolved_with_what_was_written() -> None:
    objectives = read_objectives(NAMES, {"accuracy": "baseline - 2 pt", "size_bytes": "60k", "macs": "none"}, "s.yaml")
    assert [o.metric.name for o in objectives] == NAMES, "no limit on multiply-adds"
    assert objectives[0].limit_text == "accuracy >= baseline - 2 pt"
    known = objectives[0].resolved({"accuracy": 0.9886})
    assert known.limit == pytest.approx(0.9686)
    assert known.limit_text == "accuracy >= 0.9686 (baseline - 2 pt)"
    assert known.describe(0.95) == "accuracy 0.95 is below the limit 0.9686 (baseline - 2 pt)"
    assert objectives[1].limit_text == "size_bytes <= 60.0 kB"
    assert objectives[1].resolved({"size_bytes": 5.0}) is objectives[1]


def test_only_a_share_that_is_maximised_gets_a_default() -> None:
    metrics = {name: one.metric for name, one in EVALUATORS.items()}
    assert default_limits([metrics["size_bytes"], metrics["accuracy"]]) == {"accuracy": "baseline - 3 pt"}
    assert default_limits([metrics["size_bytes"], metrics["macs"]]) == {}


def test_a_new_study_gets_the_default_and_one_of_before_keeps_its_meaning(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    config = StudyConfig.model_validate(STUDY)
    assert with_default_limits(config, None).limits == {"accuracy": "baseline - 3 pt"}
    for written in ("none", 0.9, "baseline - 1 pt"):
        given = StudyConfig.model_validate(STUDY | {"limits": {"accuracy": written}})
        assert with_default_limits(given, None).limits == {"accuracy": written}
    before = toy_trials.toy_setup(tmp_path)
    assert before.stored["limits"] == {}
    study = Study.create(url, "toy", before.stored, before.plan.objectives, str(tmp_path))
    assert with_default_limits(config, study).limits == {}
    assert toy_trials.toy_setup(tmp_path, limits={"accuracy": "none"}).stored == before.stored


def test_a_study_that_began_with_the_default_goes_on_with_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    setup = toy_trials.toy_setup(tmp_path, limits={"accuracy": "baseline - 3 pt"})
    study = Study.create(url, "toy", setup.stored, setup.plan.objectives, str(tmp_path))
    config = StudyConfig.model_validate(STUDY)
    assert with_default_limits(config, study).limits == {"accuracy": "baseline - 3 pt"}


def test_limits_of_a_choice_may_follow_from_the_baseline() -> None:
    candidate = toy_trials.toy_setup(Path("unused")).space.baseline
    measured = toy_trials.good(candidate, None, lambda epoch, metrics: "").measurements
    baseline = Model(0, candidate, measured, "")
    half, near = limits_of({"size_bytes": "0.5 x baseline"}, {"accuracy": "baseline - 1 pt"}, baseline)
    assert half.limit == pytest.approx(0.5 * baseline["size_bytes"])
    assert near.limit == pytest.approx(baseline["accuracy"] - 0.01)
    with pytest.raises(ConfigError, match="max size_bytes=baseline: no baseline is known here; allowed: a number"):
        limits_of({"size_bytes": "baseline"}, {}, None)
    with pytest.raises(ConfigError, match="max npu_cycles=baseline: the baseline has no npu_cycles; allowed: a number"):
        limits_of({"npu_cycles": "baseline"}, {}, baseline)
    with pytest.raises(ConfigError, match="min accuracy=97: no model can meet 97; allowed: at most 1"):
        limits_of({}, {"accuracy": "97"}, baseline)
    with pytest.raises(ConfigError, match="max size_bytes=few: 'few' is not a limit; allowed: a number"):
        limits_of({"size_bytes": "few"}, {}, baseline)
    with pytest.raises(ConfigError, match="max macs=none: none is no limit here; leave it out"):
        limits_of({"macs": "none"}, {}, baseline)


def test_a_limit_below_the_floor_of_its_metric_is_the_floor() -> None:
    asked, floor = EVALUATORS["latency_ms"].metric, EVALUATORS["latency_ms"].metric.floor
    fixed = Objective(asked, limit=0.001)
    assert fixed.limit == floor
    assert fixed.limit_text == "latency_ms <= 0.0200 ms (the lowest that can be told)"
    assert broken_limits((fixed,), {"latency_ms": 0.0199}) == []
    assert broken_limits((fixed,), {"latency_ms": 0.021}) == [
        "latency_ms 0.021 ms is above the limit 0.02 (the lowest that can be told)"
    ]
    follows = Objective(asked, relative=BaselineLimit(factor=0.1)).resolved({"latency_ms": 0.08})
    assert follows.limit_text == "latency_ms <= 0.0200 ms (0.1 x baseline; the lowest that can be told)"
    assert Objective(asked, limit=0.03).limit_text == "latency_ms <= 0.0300 ms"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"limits": {"size_bytes": 60, 0: None}},
            "limits: 0 is no metric: within {...}, a comma begins the next limit",
        ),
        ({"limits": {"latency_ms": 0, "5 x baseline": None}}, "limits: '5 x baseline' is no metric: within {...}"),
        ({"limits": "60k"}, "limits: must be a mapping, such as {name: value} (got '60k')"),
        ({"warm_start": "b"}, "warm_start: must be a list, such as [a, b] (got 'b')"),
        ({"training": 5}, "training: must be a mapping, such as {name: value} (got 5)"),
    ],
)
def test_a_value_of_the_wrong_shape_is_refused_with_the_right_one(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"s.yaml: {said}")):
        checked_config(STUDY | changed, "s.yaml", {})


@pytest.mark.parametrize("section", ["limits", "space", "training", "distillation"])
def test_a_section_with_nothing_in_it_is_as_if_it_were_not_there(section: str) -> None:
    config = checked_config(STUDY | {section: None}, "s.yaml", {})
    assert config == checked_config(STUDY, "s.yaml", {})
    assert with_default_limits(config, None).limits == {"accuracy": "baseline - 3 pt"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("limits: {size_bytes: 60k, size_bytes: 70k}", 1),
        ("limits: {accuracy: 0.9}\nseed: 1\n'limits': {size_bytes: 60k}", 3),
        ('{"limits": {"accuracy": 0.9,\n "accuracy": 0.8}}', 2),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_both_places(text: str, line: int) -> None:
    with pytest.raises(ConfigError, match=rf"s.yaml: .* stands here and in line 1; leave one out\s+in .*, line {line}"):
        loaded(text, "s.yaml")


def test_a_merged_mapping_may_be_overridden() -> None:
    text = "a: &one {x: 1, y: 2}\nb:\n  <<: *one\n  y: 3\n"
    assert loaded(text, "s.yaml", allows_aliases=True)["b"] == {"x": 1, "y": 3}
