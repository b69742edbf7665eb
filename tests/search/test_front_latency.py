"""The final front is measured once more, side by side, and both values stay."""

from dataclasses import replace

import pytest
import toy_trials

from paredown.evaluators.build import build, input_shape
from paredown.evaluators.device import this_device
from paredown.evaluators.files.onnx_model import export
from paredown.evaluators.metrics.latency_again_ms import METRIC as AGAIN
from paredown.evaluators.metrics.latency_ms import METRIC
from paredown.evaluators.metrics.measurement import Measurement
from paredown.search.api.model_table import ModelTable
from paredown.search.front_latency import measure_front_again
from paredown.search.study_file.setup import Setup
from paredown.studies.latency_remarks import Fp32Models
from paredown.studies.result import TrialResult
from paredown.studies.study import Study
from paredown.studies.summary import model_summary

FIRST_MS = (2.0, 1.0, 0.5, 0.01)
HERE = str(this_device())


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Setup, Study]:
    """A study of real files whose stored latencies are far from what they are."""
    folder = tmp_path_factory.mktemp("study")
    setup = toy_trials.toy_setup(folder, objectives=["accuracy", "latency_ms"], sampler="random")
    study = Study.create(f"sqlite:///{folder}/s.db", "toy", setup.stored, setup.plan.objectives, str(setup.plan.folder))
    for place, latency in enumerate(FIRST_MS):
        pending = study.ask(setup.space.sample)
        while pending is None:
            pending = study.ask(setup.space.sample)
        shape = input_shape(pending.candidate, setup.task)
        files = setup.plan.folder / f"trials/{place}"
        files.mkdir(parents=True)
        (files / "model.onnx").write_bytes(export(build(pending.candidate, shape, 10).eval(), shape))
        values = toy_trials.values(pending.candidate) | {"accuracy": 0.9 - place / 10, "latency_ms": latency}
        device = "another machine" if place == 2 else HERE
        measured = {n: Measurement(n, v, device=device if n == METRIC.name else "") for n, v in values.items()}
        study.tell(pending.number, TrialResult("done", "", measured, f"trials/{place}"))
    return setup, study


def test_each_model_of_the_front_gets_a_second_latency_once(told: tuple[Setup, Study]) -> None:
    setup, study = told
    assert len(measure_front_again(study, setup.task, setup.plan)) == 2, "not the baseline, nor another machine's"
    models = study.models()
    assert [AGAIN.name in model.measurements for model in models] == [False, True, False, True]
    assert [model[METRIC.name] for model in models] == list(FIRST_MS), "the search's own values stay"
    again = models[1].measurements[AGAIN.name]
    assert 0.2 < again.value < 20, "about the baseline's 2 ms, whose network has about its size"
    assert again.spread > 0.019 * again.value, "sessions differ"
    assert measure_front_again(study, setup.task, setup.plan) == []


def test_what_moved_and_what_is_at_the_floor_is_said(told: tuple[Setup, Study]) -> None:
    setup, study = told
    measure_front_again(study, setup.task, setup.plan)
    baseline, _, _, least = study.models()
    summary = model_summary(least, baseline, "", Fp32Models())
    assert summary["latency_at_floor"]
    assert summary["latency_moved"]
    shown = ModelTable.of(study).text([least])
    assert "at the floor of this runtime; measured again" in shown
    same = replace(least, measurements={**least.measurements, AGAIN.name: Measurement(AGAIN.name, 0.015)})
    assert not model_summary(same, baseline, "", Fp32Models())["latency_moved"], "both are at the floor"


def test_a_study_without_latency_is_left_alone(told: tuple[Setup, Study]) -> None:
    setup, study = told
    others = tuple(o for o in setup.plan.objectives if o.metric != METRIC)
    assert measure_front_again(study, setup.task, replace(setup.plan, objectives=others)) == []
