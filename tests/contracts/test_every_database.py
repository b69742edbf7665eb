"""What a study does in every database that it may live in."""

import uuid

import optuna
import pytest
from sqlalchemy import update
from toy_study import BASELINE, CONFIG, objectives, outcome, run, sample

from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.sampler import Problem
from paredown.studies.database_to_read import open_to_read
from paredown.studies.records import list_studies
from paredown.studies.result import TrialResult
from paredown.studies.study import Study
from paredown.studies.tables import StudyRow


@pytest.fixture
def name() -> str:
    return f"toy-{uuid.uuid4().hex[:8]}"


def opened(database: str, name: str) -> Study:
    study = Study.create(database, name, CONFIG, objectives(5000), "out")
    study.use(SAMPLERS["random"](Problem(0, 20)))
    return study


def test_candidates_out_and_results_in(database: str, name: str) -> None:
    study = opened(database, name)
    assert run(study, 3)[0] == BASELINE
    asked = study.ask(sample)
    assert asked is not None
    study.tell(asked.number, TrialResult("failed", "a bad day"))
    again = Study.open(database, name, lambda config: objectives(5000))
    assert again.models() == study.models()
    assert [row["state"] for row in again.rows()][:4].count("done") == 3
    assert again.rows()[asked.number]["reason"] == "a bad day"
    assert again.config == CONFIG


def test_a_trial_given_back_runs_again_under_its_number(database: str, name: str) -> None:
    study = opened(database, name)
    run(study, 1)
    asked = study.ask(sample)
    assert asked is not None
    study.runner.renew()
    study.leave()
    again = opened(database, name)
    assert again.recover() == 1
    assert again.ask(sample) == asked
    again.tell(asked.number, outcome(asked.candidate))
    assert again.rows()[asked.number]["attempt"] == 2
    assert again.counts() == {"done": 2}


def test_studies_live_side_by_side(database: str, name: str) -> None:
    run(opened(database, name), 1)
    run(opened(database, name + "-b"), 2)
    listed = {row["study"]: row["trials"] for row in list_studies(database)}
    assert (listed[name], listed[name + "-b"]) == ({"done": 1}, {"done": 2})


def test_what_is_opened_to_be_read_changes_nothing_and_waits_for_no_writer(database: str, name: str) -> None:
    study = opened(database, name)
    run(study, 2)
    storage = open_to_read(database)
    study_id = storage.get_study_id_from_name(name)
    with study._storage.engine.begin() as writer:
        writer.execute(update(StudyRow).values(folder="elsewhere"))
        assert len(storage.get_all_trials(study_id)) == 2
    with pytest.raises(optuna.exceptions.StorageInternalError):
        storage.set_study_user_attr(study_id, "x", 1)
    assert storage.get_study_user_attrs(study_id) == {}
    storage.engine.dispose()
