"""What a trial leaves to a device: it is neither measured here, nor judged, nor asked of the space."""

from pathlib import Path

import pytest
import toy_trials

from paredown.evaluators.latency.sent_model import SentModel, measured_here, timed_metrics
from paredown.search.errors import ConfigError
from paredown.search.study_file.feasibility import probe
from paredown.search.study_file.setup import Setup
from paredown.search.trial.run_trial import measure_untrained, run_trial
from paredown.studies.result import PARKED

PI4 = {"resource": "pi4"}
IMPOSSIBLE_MS = 1e-9


def setup_of(folder: Path, **keys: object) -> Setup:
    objectives = ["accuracy", "latency_ms", "throughput_ips"]
    return toy_trials.toy_setup(folder, objectives=objectives, training={"epochs": 1}, measure_on=PI4, **keys)


def test_files_are_timed_for_latency_and_what_else_a_study_asks_for() -> None:
    assert timed_metrics(["accuracy", "size_bytes"]) == ("latency_ms",)
    assert timed_metrics(["cold_start_ms", "accuracy"]) == ("latency_ms", "cold_start_ms")


def test_a_trial_ends_parked_and_its_file_is_measured_from_its_bytes_alone(tmp_path: Path) -> None:
    setup = setup_of(tmp_path)
    result = run_trial(setup.space.baseline, setup.plan)
    assert (result.outcome, result.reason) == (PARKED, "latency_ms, throughput_ips: pi4 has still to measure it")
    assert {"accuracy", "size_bytes"} <= result.measurements.keys()
    assert not {"latency_ms", "throughput_ips"} & result.measurements.keys()
    onnx = Path(setup.plan.folder, result.artifact, "model.onnx").read_bytes()
    alone = measured_here(SentModel(setup.plan.left_out, onnx, (1, 8, 8), 1, 1))
    beside = measured_here(
        SentModel(setup.plan.left_out, onnx, (1, 8, 8), 1, 1, onnx, (1, 8, 8), 10 * alone["latency_ms"].value)
    )
    assert alone.keys() == beside.keys() == {"latency_ms", "throughput_ips"}
    ratio = beside["latency_ms"].value / (10 * alone["latency_ms"].value)
    assert ratio == pytest.approx(1, abs=0.5), "the same file beside itself, in units of the baseline"


def test_a_limit_on_what_is_not_measured_here_is_judged_when_it_is(tmp_path: Path) -> None:
    setup = setup_of(tmp_path, limits={"latency_ms": IMPOSSIBLE_MS})
    assert "latency_ms" not in measure_untrained(setup.space.baseline, setup.plan)
    probe(setup, "toy.yaml")
    too_small = setup_of(tmp_path, limits={"latency_ms": IMPOSSIBLE_MS, "macs": 10})
    with pytest.raises(ConfigError, match=r"limits\.macs: no candidate can meet 10"):
        probe(too_small, "toy.yaml")
