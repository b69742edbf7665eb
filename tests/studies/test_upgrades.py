"""Databases of earlier schemas, kept as files, open and are read."""

import shutil
from pathlib import Path

import pytest
from toy_study import BASELINE, CONFIG, objectives, run

from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.sampler import Problem
from paredown.studies.records import list_studies
from paredown.studies.study import Study

KEPT = sorted(Path(__file__).parents[1].glob("upgrade_assets/schema_*.db"))


def test_there_is_one_to_open() -> None:
    assert KEPT
    assert all(file.stat().st_size < 400_000 for file in KEPT)


@pytest.mark.parametrize("kept", KEPT, ids=lambda file: file.stem)
def test_a_kept_database_is_read_and_goes_on(kept: Path, tmp_path: Path) -> None:
    shutil.copyfile(kept, tmp_path / "studies.db")
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    assert [(row["study"], row["trials"]) for row in list_studies(url)] == [("toy", {"done": 2})]
    study = Study.open(url, "toy", lambda config: objectives())
    baseline, second = study.models()
    assert study.config == CONFIG
    assert baseline.candidate == BASELINE
    assert baseline["accuracy"] == 0.95
    assert second["size_bytes"] > 0
    assert study.curves()[1] == [(0, {"loss": 1.0}), (1, {"loss": 0.5})]
    study.use(SAMPLERS["random"](Problem(1, 20)))
    run(study, 1)
    assert study.models()[:2] == [baseline, second]
    assert study.counts()["done"] == 3
