"""What a study does in every database that it may live in.

PostgreSQL is tried where PAREDOWN_TEST_POSTGRES holds the address of an empty database.
"""

import os
import uuid
from pathlib import Path

import pytest
from toy_study import BASELINE, CONFIG, objectives, outcome, run, sample

from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.sampler import Problem
from paredown.studies.records import list_studies
from paredown.studies.result import TrialResult
from paredown.studies.study import Study

POSTGRES = os.environ.get("PAREDOWN_TEST_POSTGRES", "")
WITHOUT = pytest.mark.skipif(not POSTGRES, reason="PAREDOWN_TEST_POSTGRES names no database")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=WITHOUT)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return POSTGRES if request.param == "postgresql" else f"sqlite:///{tmp_path / 'studies.db'}"


@pytest.fixture
def name() -> str:
    return f"toy-{uuid.uuid4().hex[:8]}"


def opened(url: str, name: str) -> Study:
    study = Study.create(url, name, CONFIG, objectives(5000), "out")
    study.use(SAMPLERS["random"](Problem(0, 20)))
    return study


def test_candidates_out_and_results_in(url: str, name: str) -> None:
    study = opened(url, name)
    assert run(study, 3)[0] == BASELINE
    asked = study.ask(sample)
    assert asked is not None
    study.tell(asked.number, TrialResult("failed", "a bad day"))
    again = Study.open(url, name, lambda config: objectives(5000))
    assert again.models() == study.models()
    assert [row["state"] for row in again.rows()][:4].count("done") == 3
    assert again.rows()[asked.number]["reason"] == "a bad day"
    assert again.config == CONFIG


def test_a_trial_given_back_runs_again_under_its_number(url: str, name: str) -> None:
    study = opened(url, name)
    run(study, 1)
    asked = study.ask(sample)
    assert asked is not None
    study.renew([asked.number])
    study.leave()
    again = opened(url, name)
    assert again.recover() == 1
    assert again.ask(sample) == asked
    again.tell(asked.number, outcome(asked.candidate))
    assert again.rows()[asked.number]["attempt"] == 2
    assert again.counts() == {"done": 2}


def test_studies_live_side_by_side(url: str, name: str) -> None:
    run(opened(url, name), 1)
    run(opened(url, name + "-b"), 2)
    listed = {row["study"]: row["trials"] for row in list_studies(url)}
    assert (listed[name], listed[name + "-b"]) == ({"done": 1}, {"done": 2})
