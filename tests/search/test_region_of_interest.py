"""A search inside its limits: they are known once the baseline is, and what is outside counts for nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy_trials

from paredown.evaluators.metrics.evaluation_input import Baseline
from paredown.evaluators.metrics.measurement import Objective
from paredown.search.api.study import Study as OpenStudy
from paredown.search.drivers.driver import with_reference
from paredown.search.errors import ConfigError, SearchAborted
from paredown.search.listener import ProgressListener
from paredown.search.monitoring.status import status_lines, study_status
from paredown.search.run import problem_of, search
from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.sampler import Problem
from paredown.search.study_file.objectives import stored_objectives
from paredown.search.study_file.setup import Setup
from paredown.search.trial.run_trial import run_trial
from paredown.studies.choice import choose
from paredown.studies.errors import NothingFits
from paredown.studies.front import Model, hypervolume
from paredown.studies.region import binding, binding_text, nearest
from paredown.studies.report import write_report
from paredown.studies.result import TrialResult
from paredown.studies.study import Study

REFERENCE = Baseline(Path("model.onnx"), (1, 8, 8), 1.0)


def limited(folder: Path, trials: int = 8, **limits: Any) -> Setup:
    return toy_trials.toy_setup(folder, limits=limits, trials=trials, seed=1)


def opened(setup: Setup, folder: Path) -> Study:
    study = Study.create(f"sqlite:///{folder}/s.db", "toy", setup.stored, setup.plan.objectives, str(folder))
    study.use(SAMPLERS["random"](Problem(1, 20)))
    study.enqueue([setup.space.values(setup.space.baseline)])
    return study


def searched(setup: Setup, folder: Path, run: Any = toy_trials.good) -> Study:
    """Return a study with its trials, which run in this process, read anew."""
    study, plan = opened(setup, folder), setup.plan
    while study.counts().get("done", 0) < setup.config.trials:
        if (asked := study.ask(setup.space.sample)) is not None:
            plan = replace(setup.plan, baseline=REFERENCE if asked.number else None)
            study.tell(asked.number, run(asked.candidate, plan, lambda epoch, metrics: ""))
    study.leave()
    return Study.open(f"sqlite:///{folder}/s.db", "toy", stored_objectives)


def test_limits_are_numbers_once_the_baseline_is_known(tmp_path: Path) -> None:
    setup = limited(tmp_path, accuracy="baseline - 4 pt", size_bytes="0.5 x baseline")
    study = opened(setup, tmp_path)
    assert study.limits == {}
    assert dict(problem_of(setup, study).region().losses) == {}
    study.leave()
    study = searched(setup, tmp_path)
    baseline = study.baseline()
    assert baseline is not None
    assert study.config["limits"] == {"accuracy": "baseline - 4 pt", "size_bytes": "0.5 x baseline"}
    wanted = {"accuracy": baseline["accuracy"] - 0.04, "size_bytes": baseline["size_bytes"] / 2}
    assert study.limits == pytest.approx(wanted)
    assert dict(problem_of(setup, study).region().losses) == pytest.approx(
        {0: -wanted["accuracy"], 1: wanted["size_bytes"]}
    )
    plan = with_reference(setup.plan, baseline)
    assert {o.metric.name: o.limit for o in plan.objectives} == pytest.approx(wanted)
    for model in study.models():
        inside = model["accuracy"] >= wanted["accuracy"] and model["size_bytes"] <= wanted["size_bytes"]
        assert model.feasible == inside
    assert not baseline.feasible, "it may break a limit on a cost"
    assert any(model.feasible for model in study.models())


def test_the_baseline_is_trained_whatever_the_limits_and_no_other_network_is(tmp_path: Path) -> None:
    epochs = {"epochs": 1, "finetune_epochs": 1}
    setup = toy_trials.toy_setup(tmp_path, limits={"macs": "0.9 x baseline"}, training=epochs)
    found = run_trial(setup.space.baseline, setup.plan)
    assert found.outcome == "done"
    model = Model(0, setup.space.baseline, found.measurements, found.artifact)
    again = run_trial(setup.space.baseline, with_reference(setup.plan, model))
    assert again.outcome == "rejected"
    assert again.reason.endswith("(0.9 x baseline)")
    assert again.curve == (), "nothing was trained"


def test_a_limit_below_all_networks_is_refused_before_anything_is_stored(tmp_path: Path) -> None:
    for limits, said in (({"macs": "0.001 x baseline"}, r"\(0.001 x baseline\)"), ({"macs": 10}, "")):
        with pytest.raises(ConfigError, match=rf"limits.{next(iter(limits))}: no candidate can meet .*{said}"):
            search(limited(tmp_path, **limits), f"sqlite:///{tmp_path}/s.db", run=toy_trials.good)
    assert not (tmp_path / "s.db").exists()


def test_the_hypervolume_reaches_to_the_limits(tmp_path: Path) -> None:
    study = searched(limited(tmp_path, accuracy="baseline - 4 pt"), tmp_path)
    baseline, models, metrics = study.baseline(), study.models(), study.optimised_metrics
    assert baseline is not None
    inside = hypervolume(models, metrics, baseline, study.limits)
    feasible = [model for model in models if model.feasible]
    assert 0 < len(feasible) < len(models)
    assert inside == hypervolume(feasible, metrics, baseline, study.limits), "what is outside counts for nothing"
    one = hypervolume([baseline], metrics, baseline, study.limits)
    height = (baseline["accuracy"] - study.limits["accuracy"]) / (1 - study.limits["accuracy"])
    assert one == pytest.approx(height * (1 - 1 / 1.1))


def shallow(candidate: Any, plan: Any, on_epoch: Any) -> TrialResult:
    """Toy trials that are far less accurate than their baseline."""
    found = toy_trials.good(candidate, plan, on_epoch)
    if plan.baseline is None:
        return found
    accuracy = found.measurements["accuracy"]
    return replace(found, measurements={**found.measurements, "accuracy": replace(accuracy, value=0.5)})


def test_a_front_without_a_feasible_model_shows_the_nearest_and_what_binds(tmp_path: Path) -> None:
    setup = limited(tmp_path, trials=4, accuracy="baseline - 4 pt", size_bytes="0.5 x baseline")
    shown = OpenStudy(searched(setup, tmp_path, shallow))
    front, baseline = shown.front(), shown.baseline
    assert baseline is not None
    assert front.binding == "accuracy"
    sizes = [model["size_bytes"] for model in front]
    assert len(front) == 4
    assert not any(model.feasible for model in front)
    assert front[-1].trial == 0, "twice the size is farther away than half of the accuracy"
    assert max(sizes[:-1]) <= baseline["size_bytes"] / 2
    limit = f"accuracy >= {baseline['accuracy'] - 0.04:.4f} (baseline - 4 pt)"
    assert front.remark.startswith(
        f"none of 4 models keeps the limits of the study, of which {limit} binds; the nearest"
    )
    document = front.to_dict()
    assert document["binding"] == "accuracy"
    assert document["limits"]["accuracy"] == {"value": pytest.approx(baseline["accuracy"] - 0.04), "text": limit}
    with pytest.raises(NothingFits, match=r"none of 4 models keeps the limits of the study, of which accuracy >= "):
        shown.select()
    chosen = shown.select(min={"accuracy": 0.4})
    assert chosen.trial != 0, "a limit that is given takes the place of the study's own"
    write_report(shown.stored, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "The models below come nearest" in page
    assert "(baseline - 4 pt)" in page
    assert f"  limits: {limit}, " in status_lines(study_status(shown.stored))[1]


def test_a_front_inside_names_no_binding_limit(tmp_path: Path) -> None:
    shown = OpenStudy(searched(limited(tmp_path, accuracy="baseline - 4 pt"), tmp_path))
    front = shown.front()
    assert (front.binding, front.remark, front.to_dict()["binding"]) == ("", "", None)
    assert front.limits["accuracy"]["text"].endswith("(baseline - 4 pt)")
    assert all(model.feasible for model in front)
    write_report(shown.stored, tmp_path / "report.html")
    assert "The front reaches from accuracy 0." in (tmp_path / "report.html").read_text()


def test_a_limit_that_no_network_can_keep_ends_the_search_once_the_baseline_is_known(tmp_path: Path) -> None:
    setup = limited(tmp_path, accuracy="baseline + 50 pt")
    for _ in range(2):  # the same command says it again
        with pytest.raises(
            SearchAborted, match=r"limits.accuracy: baseline \+ 50 pt is 1\..*no network can have more than 1"
        ):
            search(setup, f"sqlite:///{tmp_path}/s.db", run=toy_trials.good)
    study = Study.open(f"sqlite:///{tmp_path}/s.db", "toy", stored_objectives)
    assert study.baseline() is not None
    assert study.counts()["done"] == 1


def test_the_look_for_a_network_within_the_limits_is_shown(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    class Told(ProgressListener):
        def probed(self, done: int, total: int) -> None:
            seen.append((done, total))

    with pytest.raises(ConfigError, match="no candidate can meet 10"):
        search(limited(tmp_path, macs=10), f"sqlite:///{tmp_path}/s.db", run=toy_trials.good, listener=Told())
    total = seen[0][1]
    assert seen == [(done, total) for done in range(total + 1)]
    seen.clear()
    search(limited(tmp_path, trials=1, macs="1G"), f"sqlite:///{tmp_path}/s.db", run=toy_trials.good, listener=Told())
    assert seen == [(0, total), (total, total)]


def test_a_device_that_runs_no_model_is_what_binds(tmp_path: Path) -> None:
    study = searched(limited(tmp_path, trials=2, accuracy=0.1), tmp_path)
    objectives = study.objectives
    models = [replace(m, feasible=False, refusal="computes with fp32; f746 executes int8") for m in study.models()]
    assert binding(models, objectives) == "device"
    said = (
        "the device of the study runs none of 2 models; the nearest is trial 0: computes with fp32; f746 executes int8"
    )
    assert binding_text(models, objectives) == said
    with pytest.raises(NothingFits, match="the device of the study runs none of 2 models"):
        choose(models, objectives, [Objective(objectives[0].metric, limit=0.2)])
    able = replace(models[1], refusal="")
    assert nearest([models[0], able], objectives) == [able, models[0]], "one that runs comes first"
