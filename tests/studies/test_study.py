"""What a study promises to those who ask and tell."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from toy_study import BASELINE, CONFIG, objectives, open_study, outcome, run, sample

from paredown.evaluators.metrics.measurement import Measurement
from paredown.spaces.candidate import Candidate
from paredown.studies.errors import StudyError, StudyNotFound
from paredown.studies.records import list_studies
from paredown.studies.result import TrialResult
from paredown.studies.study import Study


def optuna_trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="toy", storage=f"sqlite:///{folder / 'studies.db'}").trials


def test_the_baseline_is_trial_0_and_results_come_back(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    candidates = run(study, 4)
    assert candidates[0] == BASELINE
    models = open_study(tmp_path).models()
    assert [m.candidate for m in models] == candidates
    assert models[0].measurements["accuracy"] == Measurement("accuracy", 0.95, 0.01)
    assert study.curves()[0] == [(0, {"loss": 1.0}), (1, {"loss": 0.5})]
    assert study.baseline() == models[0]
    assert {t.state for t in optuna_trials(tmp_path)} == {optuna.trial.TrialState.COMPLETE}


def test_a_sensitivity_map_stays_with_the_study(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    assert study.sensitivity() is None
    for found in ({"network": "toy, trial 0", "map": {"accuracy": 0.5}}, {"network": "other", "map": {}}):
        study.keep_sensitivity(found)
        assert open_study(tmp_path).sensitivity() == found


def test_objectives_are_named_for_the_dashboard(tmp_path: Path) -> None:
    open_study(tmp_path)
    study = optuna.load_study(study_name="toy", storage=f"sqlite:///{tmp_path / 'studies.db'}")
    assert study.metric_names == ["accuracy", "size_bytes"]
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]


def test_a_known_network_is_told_and_not_run(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    first = study.ask(sample)
    assert first is not None
    study.tell(0, outcome(first.candidate))
    again = study.ask(lambda trial: sample(trial) and BASELINE)
    assert again is None
    assert study.rows()[1]["state"] == "duplicate"
    assert "trial 0" in study.rows()[1]["reason"]
    trials = optuna_trials(tmp_path)
    assert trials[1].values == trials[0].values
    assert len(study.models()) == 1


def test_not_a_number_fails_with_its_reason(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    asked = study.ask(sample)
    assert asked is not None
    told = study.tell(0, outcome(asked.candidate, accuracy=float("nan")))
    assert told.outcome == "failed"
    assert study.rows()[0]["reason"] == "accuracy is nan"
    assert optuna_trials(tmp_path)[0].state == optuna.trial.TrialState.FAIL


def test_a_failed_baseline_is_tried_again(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    assert study.ask(sample) is not None
    study.tell(0, TrialResult("failed", "no disk"))
    again = study.ask(sample)
    assert again is not None
    assert (again.number, again.candidate) == (1, BASELINE)


def test_rejected_is_pruned_with_its_constraint(tmp_path: Path) -> None:
    study = open_study(tmp_path, limit=50)
    run(study, 1)
    asked = study.ask(sample)
    assert asked is not None
    study.tell(asked.number, TrialResult("rejected", "too big", {"size_bytes": Measurement("size_bytes", 75.0)}))
    trial = optuna_trials(tmp_path)[asked.number]
    assert trial.state == optuna.trial.TrialState.PRUNED
    assert trial.constraints == {"size_bytes": 0.5}


def test_a_broken_limit_makes_a_model_infeasible(tmp_path: Path) -> None:
    study = open_study(tmp_path, limit=5000)
    run(study, 8)
    for model in study.models():
        assert model.feasible == (model["size_bytes"] <= 5000)
    assert not study.models()[0].feasible


def test_another_configuration_is_refused_by_key(tmp_path: Path) -> None:
    run(open_study(tmp_path), 1)
    with pytest.raises(StudyError, match=r"another training.*\n.*stored None, now 'other'"):
        open_study(tmp_path, training="other")
    assert open_study(tmp_path).config == CONFIG


def test_what_no_trial_has_come_of_can_be_mended(tmp_path: Path) -> None:
    study = open_study(tmp_path, training="wrong")
    asked = study.ask(sample)
    study.tell(asked.number, TrialResult("failed", "a wrong training"))
    with pytest.raises(StudyError, match="another space"):
        open_study(tmp_path, training="wrong", space="other")
    mended = open_study(tmp_path, training="right")
    assert mended.config == CONFIG | {"training": "right"}
    assert [row["state"] for row in mended.rows()] == ["failed"]
    run(mended, 1)
    with pytest.raises(StudyError, match=r"another training.*\n.*stored 'right', now 'wrong'"):
        open_study(tmp_path, training="wrong")


def test_places_are_no_part_of_a_study(tmp_path: Path) -> None:
    def task(path: str, data: str = "abc") -> dict[str, Any]:
        return {"name": "image_folder", "options": {"path": path, "seed": 0}, "data": data}

    run(open_study(tmp_path, task=task("here"), task_folder="/a"), 1)
    assert open_study(tmp_path, task=task("/b/here"), task_folder="/b").config["task"] == task("/b/here")
    assert Study.open(f"sqlite:///{tmp_path}/studies.db", "toy", lambda _: objectives()).config["task_folder"] == "/b"
    with pytest.raises(StudyError, match=r"digest abc; that of the data at there is xyz.*paredown adopt toy --data"):
        open_study(tmp_path, task=task("there", "xyz"), task_folder="/b")
    other = task("here") | {"options": {"path": "here", "seed": 1}}
    with pytest.raises(StudyError, match="another task"):
        open_study(tmp_path, task=other, task_folder="/a")


def test_a_network_that_has_moved_is_the_same_in_every_trial(tmp_path: Path) -> None:
    def own(folder: str) -> dict[str, Any]:
        knobs = {"function": "net:make", "folder": folder, "weights": "", "digest": "abc", "resolution": 8}
        baseline = {"family": "imported", "knobs": knobs, "steps": {}}
        return {"model": "net:make", "weights": None, "task_folder": folder, "baseline": baseline}

    study = open_study(tmp_path, **own("/a"))
    asked = study.ask(sample)
    study.tell(asked.number, outcome(BASELINE))
    with study.runner.alive(), pytest.raises(StudyError, match="another search of the study has it where it was"):
        open_study(tmp_path, **own("/b"))
    study.leave()
    moved = open_study(tmp_path, **own("/b"))
    assert moved.baseline() is not None
    assert moved.baseline_candidate.knobs["folder"] == "/b"


def test_an_unknown_study_names_those_there_are(tmp_path: Path) -> None:
    open_study(tmp_path)
    with pytest.raises(StudyNotFound, match=r"no study 'tou'.*toy"):
        Study.open(f"sqlite:///{tmp_path / 'studies.db'}", "tou", lambda config: objectives())


def test_failed_trials_run_again_when_asked_for(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    run(study, 1)
    asked = study.ask(sample)
    assert asked is not None
    study.tell(asked.number, TrialResult("failed", "a bad day"))
    assert len(study.retry(lambda candidate: dict(candidate.knobs))) == 1
    again = study.ask(sample)
    assert again is not None
    assert again.candidate == asked.candidate
    assert again.number > asked.number


def test_what_is_measured_later_is_kept(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    run(study, 1)
    study.add_measurement(0, Measurement("test_accuracy", 0.9, 0.02, "measured"))
    assert open_study(tmp_path).models()[0]["test_accuracy"] == 0.9


def test_studies_are_listed_with_their_counts(tmp_path: Path) -> None:
    run(open_study(tmp_path), 2)
    (row,) = list_studies(f"sqlite:///{tmp_path / 'studies.db'}")
    assert (row["study"], row["trials"]) == ("toy", {"done": 2})


def test_importances_name_the_knobs(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    run(study, 12)
    assert set(study.importances("accuracy")) == {"mbconv.width", "mbconv.depth"}


def test_a_candidate_survives_the_database(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    asked = study.ask(sample)
    assert asked is not None
    assert Candidate.from_json(study.rows()[0]["candidate"]).digest == asked.candidate.digest
