"""A study that an earlier version began goes on with the data as it saw it, and with its training."""

import json
from pathlib import Path
from typing import Any

import pytest

from paredown.evaluators.tasks.spec import stored_task
from paredown.search.api.run import run_study
from paredown.search.places import begun_study
from paredown.search.study_file.schema import StudyConfig, checked_config, read_config
from paredown.search.study_file.setup import Setup, set_up
from paredown.search.study_file.stored import as_begun
from paredown.studies.study import Study

MODULE = """
import numpy as np

def wide():
    rng = np.random.default_rng(0)
    part = lambda: (rng.random((6, 16, 40)), np.arange(6) % 2)
    return {"train": part(), "validation": part(), "test": part()}
"""


def configured(name: str, **options: Any) -> StudyConfig:
    data = {
        "study": "wide",
        "task": {"python": {"function": f"{name}:wide", **options}},
        "objectives": ["accuracy", "size_bytes"],
    }
    return checked_config(data, "wide.yaml", {})


def prepared(config: StudyConfig, folder: Path) -> Setup:
    return set_up(config, "wide.yaml", folder, folder / "out")


def begun(setup: Setup, url: str, stored: dict[str, Any]) -> None:
    Study.create(url, "wide", stored, setup.plan.objectives, str(setup.plan.folder)).leave()


def test_a_study_of_before_fit_is_read_as_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reading_before.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    url, config = f"sqlite:///{tmp_path}/s.db", configured("reading_before")
    assert as_begun(config, begun_study(url, config.study)) == config, "there is no study yet"
    earlier = prepared(configured("reading_before", fit="earlier"), tmp_path)
    options = {"function": "reading_before:wide", "flip": False, "crop": 0.0}
    assert earlier.stored["task"]["options"] == options, "as it was stored then"
    begun(earlier, url, earlier.stored)
    again = prepared(as_begun(config, begun_study(url, config.study)), tmp_path)
    assert json.loads(json.dumps(again.stored)) == json.loads(json.dumps(earlier.stored))
    assert again.task.input_shape(16) == stored_task(earlier.stored).input_shape(16) == (1, 16, 16)


def test_a_study_of_today_says_how_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reading_today.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    url, config = f"sqlite:///{tmp_path}/s.db", configured("reading_today")
    setup = prepared(config, tmp_path)
    assert setup.stored["task"]["options"]["fit"] == "keep"
    begun(setup, url, setup.stored)
    assert as_begun(config, begun_study(url, config.study)) == config
    assert prepared(as_begun(config, begun_study(url, config.study)), tmp_path).stored == setup.stored
    assert stored_task(setup.stored) is setup.task, "the function is not called again"
    assert setup.task.input_shape(40) == (1, 16, 40)


def test_a_study_that_stored_a_batch_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reading_batch.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    url, config = f"sqlite:///{tmp_path}/s.db", configured("reading_batch")
    assert prepared(config, tmp_path).plan.training.batch_from_network
    setup = prepared(config, tmp_path)
    begun(setup, url, {**setup.stored, "training": {**setup.stored["training"], "batch_size": 64}})
    again = prepared(as_begun(config, begun_study(url, config.study)), tmp_path)
    assert again.stored["training"]["batch_size"] == again.plan.training.batch_size == 64
    assert not again.plan.training.batch_from_network


def test_the_default_study_of_an_earlier_version_goes_on_with_its_training(tmp_path: Path) -> None:
    url, config = f"sqlite:///{tmp_path}/s.db", read_config(None, {"trials": 1})
    setup = set_up(config, "default study", tmp_path, tmp_path / "out")
    of_before = {**setup.stored["training"], "epochs": 1, "label_smoothing": 0.0}
    assert of_before != setup.stored["training"]
    Study.create(url, config.study, {**setup.stored, "training": of_before}, setup.plan.objectives, "out").leave()
    assert as_begun(config, begun_study(url, config.study)) == config, "what somebody wrote stays"
    study = run_study(trials=1, storage=url, out=tmp_path / "out", workers=1, progress=False)
    assert study.counts == {"done": 1}
    again = begun_study(url, config.study)
    assert again is not None
    assert again.config["training"] == of_before
    assert [len(curve) for curve in again.curves().values()] == [1], "one epoch"
